//! Readiness as the protocol reports it, without a server.

use std::num::NonZeroUsize;
use std::sync::Arc;

use http::StatusCode;
use http_body_util::BodyExt;
use modelfn_nn::backend::fake::Fake;
use modelfn_nn::registry::{EngineSettings, Registry, RegistryOptions, Source};
use modelfn_telemetry::metrics::Metrics;
use serde_json::Value;

use super::Inference;
use super::rest::{self, Endpoint};
use crate::readiness::{Condition, Readiness};

const GRAPH: &str = "compute = \"echo\"\n\
                     inputs = [{ name = \"x\", dtype = \"U8\", shape = [-1] }]\n\
                     outputs = [{ name = \"y\", dtype = \"U8\", shape = [-1] }]\n";

const CARD: &str = "name = \"m\"\ndescription = \"\"\nlicense = \"MIT\"\nsource = \"\"\n\
                    graph = { file = \"graph\", engine = \"fake\" }\n";

/// A registry of one model, whose files are gone when this returns.
fn registry() -> Arc<Registry> {
    let folder = std::env::temp_dir().join(format!("modelfn-inference-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("m")).unwrap();
    let tensors = GRAPH.split_once('\n').unwrap().1;
    std::fs::write(folder.join("m/model.toml"), format!("{CARD}{tensors}")).unwrap();
    std::fs::write(folder.join("m/graph"), GRAPH).unwrap();
    let required = ["m".to_owned()];
    let sources = [Source::Folder(folder.clone())];
    let options = RegistryOptions { sources: &sources, only: &[], required: &required, instances: NonZeroUsize::MIN };
    let registry = Registry::new(EngineSettings::on_threads(vec![Box::new(Fake)]), Arc::new(Metrics::new()))
        .reload(&options)
        .unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    Arc::new(registry)
}

async fn get(inference: &Inference, path: &str) -> (StatusCode, Value) {
    let response = rest::describe(inference, &Endpoint::parse(path).unwrap());
    let (head, body) = match response {
        Ok(response) => response.into_parts(),
        Err(problem) => {
            let (head, body) = problem.inference_response().into_parts();
            (head, body.collect().await.unwrap().to_bytes())
        }
    };
    (head.status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn nothing_is_ready_before_the_start_has_ended_nor_after_the_drain_has_begun() {
    let readiness = Arc::new(Readiness::default());
    let inference = Inference::new(registry(), readiness.clone());
    type Change<'a> = &'a dyn Fn(&Readiness);
    let changes: [(Change<'_>, bool); 3] = [
        (&|_| {}, false),
        (&|readiness| readiness.ready(Condition::default), true),
        (&|readiness| readiness.draining(), false),
    ];
    for (change, ready) in changes {
        change(&readiness);
        let expected = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        for (path, name) in [("/v2/health/ready", None), ("/v2/models/m/ready", Some("m"))] {
            let (status, document) = get(&inference, path).await;
            assert_eq!((status, document["ready"].as_bool(), document["name"].as_str()), (expected, Some(ready), name));
            assert_eq!(document["error"].is_string(), !ready);
        }
        assert_eq!(get(&inference, "/v2/health/live").await.0, StatusCode::OK);
    }
}
