//! The requests that are measured: tensors of zeros to the Open Inference Protocol, or what the user wants sent.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::client::Request;
use modelfn_card::Card;
use modelfn_nn::tensor::TensorSpec;

/// A request and what it is, in words.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) request: Request,
    pub(super) words: String,
    pub(super) body_bytes: usize,
}

/// A request of `rows` rows of zeros.
///
/// # Errors
///
/// The model does not take so many rows.
pub(super) fn zeros(card: &Card, rows: usize) -> Result<Described> {
    let name = &card.name;
    ensure!(rows == 1 || card.takes_batches(), "model '{name}' takes no batches: leave --batch at 1");
    let shape = |spec: &TensorSpec| {
        let mut shape = spec.smallest_shape();
        if let (Some(-1), Some(axis)) = (spec.shape.first(), shape.first_mut()) {
            *axis = rows;
        }
        shape
    };
    let (mut inputs, mut bytes) = (Vec::new(), 0_usize);
    for spec in &card.inputs {
        let shape = shape(spec);
        let size = shape.iter().try_fold(spec.dtype.size(), |size, axis| size.checked_mul(*axis));
        let size = size
            .filter(|size| *size <= 1 << 30)
            .context("a request would be larger than 1 GiB; use a smaller --batch")?;
        let parameters = json!({ "binary_data_size": size });
        inputs.push(
            json!({ "name": spec.name, "shape": shape, "datatype": spec.dtype.oip_name(), "parameters": parameters }),
        );
        bytes += size;
    }
    let head = json!({ "inputs": inputs, "parameters": { "binary_data_output": true } }).to_string();
    let body = [head.as_bytes(), &vec![0; bytes]].concat();
    let headers =
        format!("Content-Type: application/octet-stream\r\nInference-Header-Content-Length: {}\r\n", head.len());
    let path = format!("/v2/models/{name}/infer");
    Ok(Described {
        words: format!("POST {path}, {rows} {} of zeros", if rows == 1 { "row" } else { "rows" }),
        body_bytes: body.len(),
        request: Request::post(&path, &headers, &body),
    })
}

/// The request to a function's route.
///
/// # Errors
///
/// The file can't be read, or the route is none.
pub(super) fn to_route(route: &str, body: &Path) -> Result<Described> {
    let plain = route.starts_with('/') && route.bytes().all(|byte| byte.is_ascii_graphic());
    ensure!(plain, "--route \"{route}\" must be a path, such as /classify?top_k=3");
    let words = format!("POST {route}, {}", body.display());
    let body = std::fs::read(body).with_context(|| format!("--body {} can't be read", body.display()))?;
    Ok(Described { request: Request::post(route, "", &body), words, body_bytes: body.len() })
}
