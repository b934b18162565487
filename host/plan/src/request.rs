//! The requests that are measured: tensors of zeros to the Open Inference Protocol, or what the user wants sent.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::client::{self, Request};
use modelfn_card::Card;
use modelfn_nn::tensor::{Tensor, TensorSpec};

/// A request with its description.
#[derive(Clone, Debug)]
pub(super) struct DescribedRequest {
    pub(super) request: Request,
    /// What is sent, for people.
    pub(super) description: String,
    /// Bytes of the body.
    pub(super) body_bytes: usize,
}

/// A request of `rows` rows of zeros.
///
/// # Errors
///
/// The model does not take batches, or the request would be larger than 1 GiB.
pub(super) fn zeros(card: &Card, rows: usize) -> Result<DescribedRequest> {
    let name = &card.name;
    ensure!(rows == 1 || card.takes_batches(), "model '{name}' takes no batches: leave --batch at 1");
    let shape = |spec: &TensorSpec| {
        let mut shape = card.serving.warmup.get(&spec.name).cloned().unwrap_or_else(|| spec.smallest_shape());
        if let (Some(-1), Some(axis)) = (spec.shape.first(), shape.first_mut()) {
            *axis = rows;
        }
        shape
    };
    let (mut inputs, mut shapes, mut bytes) = (Vec::new(), Vec::new(), 0_usize);
    for spec in &card.inputs {
        let shape = shape(spec);
        shapes.push(format!("{shape:?}"));
        let size = Tensor::zeros_len(spec.dtype, &shape)
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
    let path = format!("/v2/models/{name}/infer");
    Ok(DescribedRequest {
        description: format!(
            "POST {path}, {rows} {} of zeros {}",
            if rows == 1 { "row" } else { "rows" },
            shapes.join(", ")
        ),
        body_bytes: body.len(),
        request: client::post_tensors(&path, body, head.len())?,
    })
}

/// The request to a function's route.
///
/// # Errors
///
/// The file can't be read, or the route is not a path.
pub(super) fn to_route(route: &str, body: &Path) -> Result<DescribedRequest> {
    let plain = route.starts_with('/') && route.bytes().all(|byte| byte.is_ascii_graphic());
    ensure!(plain, "--route \"{route}\" must be a path, such as /classify?top_k=3");
    let description = format!("POST {route}, {}", body.display());
    let body = std::fs::read(body).with_context(|| format!("--body {} can't be read", body.display()))?;
    let body_bytes = body.len();
    Ok(DescribedRequest { request: client::post(route, body)?, description, body_bytes })
}
