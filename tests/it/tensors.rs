//! Tensors below `/v2` that are out of the ordinary: not finite, empty, of unknown rank, and those that nobody reads.

use std::io::Write;

use serde_json::{Value, json};

use crate::harness::{Answer, Server, Setup, read_head};
use crate::wasi_nn::{identity, identity_of_any_rank, identity_of_scalars, no_engine};

const FLOATS: &str = "dtype = \"FP32\", shape = [-1]";

async fn infer(server: &Server, model: &str, body: impl Into<reqwest::Body>) -> Answer {
    server.post(&format!("/v2/models/{model}/infer"), body).await
}

/// Python's `json`, and so Triton's client, writes and reads these words.
#[tokio::test]
async fn numbers_that_are_not_finite_are_words_in_json() {
    let server = Setup::probe("").fake_model("m", FLOATS, ("compute = \"echo\"", "")).start();
    for data in ["[NaN,Infinity,-Infinity,1.5]", "[ NaN, Inf, -Inf, 1.5 ]", r#"["NaN","Infinity","-Infinity",1.5]"#] {
        let body = format!(r#"{{"id":"NaN","inputs":[{{"name":"x","datatype":"FP32","shape":[4],"data":{data}}}]}}"#);
        let answer = infer(&server, "m", body).await;
        assert_eq!(answer.status, 200, "{data}: {}", answer.text());
        assert!(answer.text().ends_with(r#""data":[NaN,Infinity,-Infinity,1.5]}]}"#), "{}", answer.text());
        assert!(answer.text().contains(r#""id":"NaN""#));
        let finite: Value = serde_json::from_str(&answer.text().replace("NaN,Infinity,-Infinity,", "")).unwrap();
        assert_eq!(finite["outputs"][0]["data"], json!([1.5]));
    }
    for data in ["[NaN,nan,1,1]", "[NaN,\"1\",1,1]", "[1e39,1,1,1]", "[+Infinity,1,1,1]"] {
        let body = format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[4],"data":{data}}}]}}"#);
        assert_eq!(infer(&server, "m", body).await.status, 400, "{data}");
    }
}

/// Triton takes both forms, and a client that nests its data otherwise than it says has made a mistake.
#[tokio::test]
async fn data_is_flat_or_nested_as_its_shape_says() {
    let tensor = "dtype = \"FP32\", shape = [-1, 2]";
    let server = Setup::probe("").fake_model("m", tensor, ("compute = \"echo\"", "")).start();
    for (shape, data, says) in [
        ("[2,2]", "[1,2,3,4]", ""),
        ("[2,2]", "[[1,2],[3,4]]", ""),
        ("[2,2]", "[[1,2,3],[4]]", "axis 1 of the shape has 2, but a list there has 3"),
        ("[2,2]", "[[[1,2]],[[3,4]]]", "within 3 lists, but the shape has 2 axes"),
        ("[2,2]", "[[1,2],3,4]", "both elements and lists"),
        ("[1,2]", "[[1],[2]]", "axis 1 of the shape has 2, but a list there has 1"),
    ] {
        let body = format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":{shape},"data":{data}}}]}}"#);
        let answer = infer(&server, "m", body).await;
        assert_eq!(answer.status, if says.is_empty() { 200 } else { 400 }, "{data}: {}", answer.text());
        assert!(answer.text().contains(says), "{data}: {}", answer.text());
    }
}

/// To an engine that is written in C++, a boolean of 2 would be undefined behaviour.
#[tokio::test]
async fn a_boolean_is_a_byte_that_is_0_or_1() {
    let tensor = "dtype = \"BOOL\", shape = [-1, 2]";
    let mut setup = Setup::probe("").fake_model("fake", tensor, ("compute = \"echo\"", ""));
    if !no_engine() {
        setup = setup.model("onnx", tensor, ("onnx", &identity(9), ""));
    }
    let server = setup.start();
    for model in ["fake", "onnx"].into_iter().filter(|model| *model == "fake" || !no_engine()) {
        let send = async |bytes: &[u8]| {
            let request = server.client.post(server.url(&format!("/v2/models/{model}/infer")));
            server.send(request.header("Inference-Header-Content-Length", 0).body(bytes.to_vec())).await
        };
        let answer = send(&[1, 0, 0, 1]).await;
        assert!(answer.status == 200 && answer.body.ends_with(&[1, 0, 0, 1]), "{model}: {}", answer.text());
        for wrong in [[2, 0], [0, 255]] {
            let answer = send(&wrong).await;
            assert_eq!(answer.status, 400, "{model}");
            assert!(answer.text().contains("an element of BOOL is the byte 0 or 1, not "), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn empty_tensors_are_tensors() {
    let setup = Setup::probe("").fake_model("open", "dtype = \"FP32\", shape = [1, -1, 4]", ("compute = \"echo\"", ""));
    let setup = setup.fake_model("rows", "dtype = \"FP32\", shape = [-1, 4]", ("compute = \"echo\"", ""));
    let setup = setup.fake_model("fixed", "dtype = \"FP32\", shape = [0, 4]", ("compute = \"echo\"", ""));
    let (setup, models) = match no_engine() {
        true => (setup, vec!["open", "rows", "fixed"]),
        false => {
            let tensor = "dtype = \"FP32\", shape = [-1, 2]";
            (setup.model("onnx", tensor, ("onnx", &identity(1), "")), vec!["open", "rows", "fixed", "onnx"])
        }
    };
    let server = setup.start();
    for model in models {
        let shape = match model {
            "open" => json!([1, 0, 4]),
            "onnx" => json!([0, 2]),
            _ => json!([0, 4]),
        };
        let input = |more: Value| {
            let mut input = json!({ "name": "x", "datatype": "FP32", "shape": shape });
            input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({ "inputs": [input] }).to_string()
        };
        let answer = infer(&server, model, input(json!({ "data": [] }))).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
        let output = &answer.json()["outputs"][0];
        assert_eq!((&output["shape"], &output["data"]), (&shape, &json!([])), "{model}");
        let text = input(json!({ "parameters": { "binary_data_size": 0 } }));
        let request = server.client.post(server.url(&format!("/v2/models/{model}/infer")));
        let answer = server.send(request.header("inference-header-content-length", text.len()).body(text)).await;
        assert_eq!(answer.json()["outputs"][0]["shape"], shape, "{model} in binary");
    }
}

#[tokio::test]
async fn a_graph_that_says_nothing_of_axes_takes_any() {
    if no_engine() {
        return;
    }
    let tensor = "dtype = \"FP32\"";
    let server = Setup::probe("").model("any", tensor, ("onnx", &identity_of_any_rank(1), "")).start();
    let metadata = server.get("/v2/models/any").await.json();
    assert_eq!(metadata["inputs"], json!([{ "name": "x", "datatype": "FP32", "shape": [-1] }]));
    for (shape, data) in
        [(json!([]), json!([7.0])), (json!([1, 4]), json!([1.0, 2.0, 3.0, 4.0])), (json!([0]), json!([]))]
    {
        let input = json!({ "name": "x", "datatype": "FP32", "shape": shape, "data": data });
        let answer = infer(&server, "any", json!({ "inputs": [input] }).to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let output = &answer.json()["outputs"][0];
        assert_eq!((&output["shape"], &output["data"]), (&shape, &data));
    }
}

#[tokio::test]
async fn a_scalar_is_a_tensor_without_axes_and_nothing_else() {
    let tensor = "dtype = \"FP32\", shape = []";
    let mut setup = Setup::probe("").fake_model("fake", tensor, ("compute = \"echo\"", ""));
    if !no_engine() {
        setup = setup.model("onnx", tensor, ("onnx", &identity_of_scalars(1), ""));
    }
    let server = setup.start();
    for model in ["fake", "onnx"].into_iter().filter(|model| *model == "fake" || !no_engine()) {
        let metadata = server.get(&format!("/v2/models/{model}")).await.json();
        assert_eq!(metadata["inputs"], json!([{ "name": "x", "datatype": "FP32", "shape": [] }]));
        let send = async |shape: Value, data: Value| {
            let input = json!({ "name": "x", "datatype": "FP32", "shape": shape, "data": data });
            infer(&server, model, json!({ "inputs": [input] }).to_string()).await
        };
        for data in [json!(7.5), json!([7.5])] {
            let answer = send(json!([]), data).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let output = &answer.json()["outputs"][0];
            assert_eq!((&output["shape"], &output["data"]), (&json!([]), &json!([7.5])), "{model}");
        }
        let answer = send(json!([1]), json!([7.5])).await;
        assert_eq!(answer.status, 400, "{model}");
        assert!(answer.text().contains("'x' is FP32 [1]; the model wants 'x' FP32 []"), "{}", answer.text());
    }
}

/// Responses are counted until the last byte has left for the client, in the same budget as bodies.
#[tokio::test]
async fn responses_that_nobody_reads_are_bounded_together() {
    let serving = "max_batch_size = 10000000";
    let setup = Setup::probe("").fake_model("m", "dtype = \"U8\", shape = [-1]", ("compute = \"echo\"", serving));
    let server = setup.args(&["--max-bodies", "40MiB", "--request-timeout", "1h"]).start();
    let size = 8 << 20;
    let json = format!(
        r#"{{"inputs":[{{"name":"x","datatype":"UINT8","shape":[{size}],"parameters":{{"binary_data_size":{size}}}}}],"parameters":{{"binary_data_output":true}}}}"#
    );
    let mut unread = Vec::new();
    let mut refused = 0;
    for _ in 0..8 {
        let mut client = server.connect();
        write!(
            client,
            "POST /v2/models/m/infer HTTP/1.1\r\nhost: it\r\ninference-header-content-length: {}\r\ncontent-length: {}\r\n\r\n{json}",
            json.len(),
            json.len() + size
        )
        .unwrap();
        client.write_all(&vec![0; size]).unwrap();
        let head = read_head(&mut client);
        assert!(head.starts_with("HTTP/1.1 200 ") || head.starts_with("HTTP/1.1 503 "), "{head}");
        refused += usize::from(head.starts_with("HTTP/1.1 503 "));
        unread.push(client);
    }
    assert!((3..=5).contains(&refused), "{refused} of 8");
    let held = "modelfn_bodies_in_flight_bytes";
    assert!(server.metric(held).await > 3.0 * size as f64);
    drop(unread);
    server.wait_for_metric(held, |bytes| bytes < 0.5).await;
}

/// A string has any characters, in JSON and in binary, through the fake engine and the real one.
#[tokio::test]
async fn strings_are_tensors() {
    let tensor = "dtype = \"STRING\", shape = [-1, 2]";
    let mut setup = Setup::probe("").fake_model("fake", tensor, ("compute = \"echo\"", ""));
    if !no_engine() {
        setup = setup.model("onnx", tensor, ("onnx", &identity(8), ""));
    }
    let server = setup.start();
    let words = ["", "a", "é\0\u{1f600}\n\"", "NaN"];
    let binary = words.iter().flat_map(|word| [&(word.len() as u32).to_le_bytes()[..], word.as_bytes()].concat());
    let binary: Vec<u8> = binary.collect();
    for model in ["fake", "onnx"].into_iter().filter(|model| *model == "fake" || !no_engine()) {
        let metadata = server.get(&format!("/v2/models/{model}")).await.json();
        assert_eq!(metadata["inputs"], json!([{ "name": "x", "datatype": "BYTES", "shape": [-1, 2] }]));
        let input = json!({ "name": "x", "datatype": "BYTES", "shape": [2, 2], "data": words });
        let answer = infer(&server, model, json!({ "inputs": [input] }).to_string()).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
        let output = &answer.json()["outputs"][0];
        assert_eq!((&output["datatype"], &output["data"]), (&json!("BYTES"), &json!(words)), "{model}");
        let (answer, head) = infer_binary(&server, model, &[2, 2], &binary).await;
        assert_eq!(head["outputs"][0]["shape"], json!([2, 2]));
        assert!(answer.body.ends_with(&binary), "{model}");
        let (answer, head) = infer_binary(&server, model, &[0, 2], &[]).await;
        assert_eq!((answer.status, &head["outputs"][0]["shape"]), (200, &json!([0, 2])));
    }
}

/// Sends the input `x` of strings in binary, and gives the response with its JSON.
async fn infer_binary(server: &Server, model: &str, shape: &[usize], data: &[u8]) -> (Answer, Value) {
    let input =
        json!({ "name": "x", "datatype": "BYTES", "shape": shape, "parameters": { "binary_data_size": data.len() } });
    let text = json!({ "inputs": [input], "parameters": { "binary_data_output": true } }).to_string();
    let request = server.client.post(server.url(&format!("/v2/models/{model}/infer")));
    let request = request.header("inference-header-content-length", text.len());
    let answer = server.send(request.body([text.as_bytes(), data].concat())).await;
    let length = answer.header("inference-header-content-length").parse().unwrap_or(answer.body.len());
    let head = serde_json::from_slice(&answer.body[..length]).unwrap_or_default();
    (answer, head)
}

#[tokio::test]
async fn strings_that_are_none_are_refused() {
    let tensor = "dtype = \"STRING\", shape = [-1]";
    let server = Setup::probe("").fake_model("m", tensor, ("compute = \"echo\"", "")).start();
    for (shape, data, says) in [
        (&[2][..], &b"\x01\0\0\0a"[..], "a BYTES tensor of shape [2] has 2 elements, but the data has 1"),
        (&[1], b"\x01\0\0\0a\x01\0\0\0b", "has 1 elements, but the data has 2"),
        (&[1], b"\x02\0\0\0a", "element 0 of the strings is cut off"),
        (&[1], b"\x01\0\0", "element 0 of the strings is cut off"),
        (&[1], b"\xff\xff\xff\xffa", "element 0 of the strings is cut off"),
        (&[2], b"\x01\0\0\0a\x01\0\0\0\xff", "element 1 of the strings is not UTF-8"),
        (&[usize::MAX, 2], b"\0\0\0\0", "more elements than can be counted"),
    ] {
        let (answer, head) = infer_binary(&server, "m", shape, data).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(head["error"].as_str().unwrap().contains(says), "{head}");
    }
    let raw = server.client.post(server.url("/v2/models/m/infer")).header("inference-header-content-length", 0);
    let answer = server.send(raw.body("\x01\0\0\0a")).await;
    assert!(answer.status == 400 && answer.text().contains("say it in JSON"), "{}", answer.text());
    let input = json!({ "name": "x", "datatype": "BYTES", "shape": [1], "data": ["a"] });
    let outputs = json!([{ "name": "y", "parameters": { "classification": 1 } }]);
    let answer = infer(&server, "m", json!({ "inputs": [input], "outputs": outputs }).to_string()).await;
    assert!(answer.status == 400 && answer.text().contains("no classes"), "{}", answer.text());
}

/// An empty string has four bytes in a request, and an object of its own in the engine.
#[tokio::test]
async fn strings_count_against_the_body_budget_as_objects() {
    let setup = Setup::probe("").args(&["--max-body", "50000", "--max-bodies", "50000"]);
    let serving = "max_batch_size = 100000";
    let server = setup.fake_model("m", "dtype = \"STRING\", shape = [-1]", ("compute = \"echo\"", serving)).start();
    let (answer, _) = infer_binary(&server, "m", &[1300], &[0; 4 * 1300]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (answer, head) = infer_binary(&server, "m", &[1500], &[0; 4 * 1500]).await;
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert!(head["error"].as_str().unwrap().contains("may hold 50000"), "{head}");
}

/// Strings of several requests are computed as one batch, and each request gets its own back.
#[tokio::test]
async fn strings_of_several_requests_are_stacked() {
    let serving = "instances = 1\ndynamic_batching = true\nmax_batch_size = 8\nmax_queue_delay_ms = 50";
    let (setup, gate) = Setup::probe("").gated_model("m", "dtype = \"STRING\", shape = [-1, 2]", serving);
    let server = setup.start();
    let words = |n: usize| json!([["é".repeat(n), ""], [n.to_string(), "x"]]);
    let requests: Vec<_> = (0..12)
        .map(|n| {
            let input = json!({ "name": "x", "datatype": "BYTES", "shape": [2, 2], "data": words(n) });
            let request = server.client.post(server.url("/v2/models/m/infer"));
            tokio::spawn(request.body(json!({ "inputs": [input] }).to_string()).send())
        })
        .collect();
    server.wait_for_in_flight(|n| n > 11.5).await;
    std::fs::write(gate, "").unwrap();
    for (n, request) in requests.into_iter().enumerate() {
        let answer = Answer::read(request.await.unwrap().unwrap()).await.unwrap().json();
        let flat: Vec<_> =
            words(n).as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap().clone()).collect();
        assert_eq!(answer["outputs"][0]["data"], json!(flat));
    }
    let statistics = server.get("/v2/models/m/stats").await.json();
    let one = &statistics["model_stats"][0];
    assert!(one["execution_count"].as_u64() < one["inference_count"].as_u64().map(|rows| rows / 2), "{one}");
}
