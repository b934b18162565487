//! The settings of traces, from OpenTelemetry's environment variables.
//!
//! OpenTelemetry's SDK reads most variables itself and falls back to a default for values that it does not understand.
//! Here such values are an error at start-up, which names the variable.
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use opentelemetry_otlp::Protocol;

/// How traces are exported.
#[derive(Debug)]
pub struct TraceSettings {
    /// The collector's scheme, host and port, for messages. Credentials are left out.
    pub endpoint: String,
    /// The timeout of one export.
    pub timeout: Duration,
    pub(super) protocol: Protocol,
    /// Whether a variable sets the service's name.
    pub(super) has_service_name: bool,
}

/// OpenTelemetry's default timeout.
const TIMEOUT: Duration = Duration::from_secs(10);

const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

impl TraceSettings {
    /// Reads the settings from `variables`; `None` when they name no collector or turn traces off.
    ///
    /// # Errors
    ///
    /// A variable has a value that this program does not support. The message names both.
    pub fn read(variables: impl Fn(&str) -> Option<String>) -> Result<Option<TraceSettings>> {
        let get = |name: &str| variables(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        // Variables for traces override those for all signals.
        let either = |of_traces: &'static str, of_all: &'static str| {
            get(of_traces).map(|value| (of_traces, value)).or_else(|| get(of_all).map(|value| (of_all, value)))
        };
        let Some((name, endpoint)) = either("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT") else {
            return Ok(None);
        };
        let off = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        match get("OTEL_TRACES_EXPORTER").as_deref() {
            _ if off => return Ok(None),
            Some("none") => return Ok(None),
            None | Some("otlp") => {}
            Some(other) => bail!("OTEL_TRACES_EXPORTER={other}: this program knows otlp and none"),
        }
        let endpoint = check_endpoint(name, &endpoint)?;
        let protocol = either("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL");
        let protocol = match protocol.as_ref().map(|(name, value)| (name, value.as_str())) {
            None | Some((_, "http/protobuf")) => Protocol::HttpBinary,
            Some((_, "http/json")) => Protocol::HttpJson,
            Some((name, other)) => {
                bail!("{name}={other}: this program speaks http/protobuf and http/json (collectors on port 4318)")
            }
        };
        let timeout = either("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
        let timeout = timeout.map(|(name, value)| check_timeout(name, &value)).transpose()?.unwrap_or(TIMEOUT);
        check_sampler(get("OTEL_TRACES_SAMPLER"), get("OTEL_TRACES_SAMPLER_ARG"))?;
        let in_attributes = get("OTEL_RESOURCE_ATTRIBUTES")
            .is_some_and(|list| list.split(',').any(|pair| pair.trim().starts_with("service.name=")));
        let has_service_name = get("OTEL_SERVICE_NAME").is_some() || in_attributes;
        Ok(Some(TraceSettings { endpoint, timeout, protocol, has_service_name }))
    }
}

/// Checks the endpoint, and returns its scheme, host and port.
fn check_endpoint(name: &str, endpoint: &str) -> Result<String> {
    let uri: http::Uri = endpoint.parse().map_err(|e| anyhow::anyhow!("{name}={endpoint}: {e}"))?;
    let Some(authority) = uri.authority() else { bail!("{name}={endpoint}: write http://host:4318") };
    ensure!(
        uri.scheme_str() == Some("http"),
        "{name}={endpoint}: only http:// is spoken here; for TLS, send to a collector nearby that passes spans on"
    );
    let host_and_port = authority.as_str().rsplit('@').next().unwrap_or_default();
    Ok(format!("http://{host_and_port}"))
}

fn check_timeout(name: &str, value: &str) -> Result<Duration> {
    let time = value.parse().ok().filter(|ms| *ms > 0).map(Duration::from_millis);
    time.ok_or_else(|| anyhow::anyhow!("{name}={value}: it must be a number of milliseconds"))
}

fn check_sampler(sampler: Option<String>, argument: Option<String>) -> Result<()> {
    let Some(sampler) = sampler else { return Ok(()) };
    ensure!(
        SAMPLERS.contains(&sampler.as_str()),
        "OTEL_TRACES_SAMPLER={sampler}: this program knows {}",
        SAMPLERS.join(", ")
    );
    let Some(argument) = argument.filter(|_| sampler.ends_with("ratio")) else { return Ok(()) };
    let ratio = argument.parse().is_ok_and(|ratio: f64| (0.0..=1.0).contains(&ratio));
    ensure!(ratio, "OTEL_TRACES_SAMPLER_ARG={argument}: it must be a number from 0 to 1");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<TraceSettings>> {
        TraceSettings::read(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret@collector:4318/base");

    #[test]
    fn without_a_collector_there_are_no_traces() {
        for variables in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " "), ("OTEL_SERVICE_NAME", "x")],
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "true")],
            &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert!(read(variables).unwrap().is_none(), "{variables:?}");
        }
    }

    #[test]
    fn variables_for_traces_override_those_for_all_signals() {
        let settings = read(&[ENDPOINT]).unwrap().unwrap();
        assert_eq!(settings.endpoint, "http://collector:4318");
        assert!(matches!(settings.protocol, Protocol::HttpBinary) && !settings.has_service_name);
        let settings = read(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other/v1/traces"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name=c"),
        ]);
        let settings = settings.unwrap().unwrap();
        assert_eq!(settings.endpoint, "http://other");
        assert!(matches!(settings.protocol, Protocol::HttpJson) && settings.has_service_name);
    }

    #[test]
    fn an_unsupported_value_is_an_error_that_names_it() {
        for (name, value, says) in [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector:4318", "only http:// is spoken"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "/v1/traces", "write http://host:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf and http/json"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "otlp and none"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "milliseconds"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", "this program knows always_on"),
        ] {
            let error = read(&[(name, value), ENDPOINT]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value) && error.contains(says), "{error}");
        }
        let ratio = [ENDPOINT, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
        assert!(read(&ratio).unwrap_err().to_string().contains("from 0 to 1"));
    }
}
