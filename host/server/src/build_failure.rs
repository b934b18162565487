//! What `modelfn dev` shows to browsers while what it serves can't be built: the compiler's output, on a page that goes
//! when the build is mended. All other clients are served by the last build that succeeded.
//!
//! The page needs no API key. So a server that asks for keys has none.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

const PAGE: &str = include_str!("build_failure.html");

/// The page's only markup is its own, since the output is escaped.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// Which failure a page shows, by which the page sees that there is another or none.
static FAILURE: HeaderName = HeaderName::from_static("x-modelfn-build-failure");

/// The failure of the last build, if it failed. Servers that build nothing have none.
#[derive(Debug, Default)]
pub struct BuildFailure(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    page: Option<Bytes>,
    /// Counts failures.
    number: u64,
}

impl BuildFailure {
    /// From now on browsers see this: what failed, as a sentence, and the `output` of what failed.
    pub fn set(&self, what: &str, output: &str) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.number += 1;
        let number = state.number.to_string();
        let parts = [("{{number}}", number.into()), ("{{what}}", escaped(what)), ("{{output}}", escaped(output))];
        // The output comes last, so that nothing in it is taken for a placeholder.
        let page = parts.iter().fold(PAGE.to_owned(), |page, (placeholder, text)| page.replacen(placeholder, text, 1));
        state.page = Some(page.into());
    }

    /// The build has succeeded.
    pub fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).page = None;
    }

    /// The page, for a request of these headers that asks for HTML, while there is a failure.
    pub(crate) fn response(&self, headers: &HeaderMap) -> Option<Response<Bytes>> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut response = Response::new(state.page.clone().filter(|_| accepts_html(headers))?);
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        for (name, value) in
            [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY), (CACHE_CONTROL, "no-store")]
        {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response.headers_mut().insert(FAILURE.clone(), state.number.into());
        Some(response)
    }
}

/// Whether a client names HTML among what it takes. Programs say `*/*`, and want no page.
fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(|value| value.contains("text/html")))
}

fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return text.into();
    }
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(accept: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))])
    }

    const BROWSER: &str = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";

    #[test]
    fn browsers_alone_see_a_failure_until_it_is_mended() {
        let failure = BuildFailure::default();
        assert!(failure.response(&headers(BROWSER)).is_none());
        failure.set("the build failed", "error: no `x`");
        let response = failure.response(&headers(BROWSER)).unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()[&FAILURE]), (500, &HeaderValue::from(1)));
        assert!(String::from_utf8_lossy(response.body()).contains("error: no `x`"));
        assert!(failure.response(&headers("*/*")).is_none() && failure.response(&HeaderMap::new()).is_none());
        failure.clear();
        assert!(failure.response(&headers(BROWSER)).is_none());
    }

    #[test]
    fn what_a_compiler_says_is_no_markup() {
        let failure = BuildFailure::default();
        failure.set("<b>", "Vec<u8> & \"{{what}}\" '</pre><script>alert(1)</script>");
        let page = String::from_utf8(failure.response(&headers(BROWSER)).unwrap().into_body().to_vec()).unwrap();
        assert!(page.contains("&lt;b&gt;") && page.contains("Vec&lt;u8&gt; &amp; &quot;{{what}}&quot;"), "{page}");
        assert_eq!(page.matches("<script>").count(), 1, "{page}");
    }
}
