//! The input of one execution, and valid requests to start from.

/// A request: its path, the header that says how long its JSON is, and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) path: String,
    pub(crate) json_length: Option<usize>,
    pub(crate) body: Vec<u8>,
}

impl Input {
    fn new(path: &str, text: &str, binary: &[u8]) -> Input {
        let json_length = (!binary.is_empty()).then_some(text.len());
        Input { path: path.to_owned(), json_length, body: [text.as_bytes(), binary].concat() }
    }

    /// The input as a file: a line with the path, a line with the length, then the body.
    pub(crate) fn write(&self) -> Vec<u8> {
        let length = self.json_length.map(|length| length.to_string()).unwrap_or_default();
        [self.path.replace('\n', "%0A").as_bytes(), b"\n", length.as_bytes(), b"\n", &self.body].concat()
    }

    /// Reads a file of [`Input::write`]. Other bytes become some input, too.
    pub(crate) fn read(bytes: &[u8]) -> Input {
        let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
        let mut next = || parts.next().unwrap_or_default();
        let path = String::from_utf8_lossy(next()).into_owned();
        let json_length = String::from_utf8_lossy(next()).parse().ok();
        Input { path, json_length, body: next().to_vec() }
    }
}

fn text(text: &str) -> Input {
    Input { path: String::new(), json_length: None, body: text.as_bytes().to_vec() }
}

/// Cards of this repository.
pub(crate) fn card_seeds() -> Vec<Input> {
    vec![
        text(include_str!("../../models/efficientnet-lite0-int8/model.toml")),
        text(include_str!("../fixtures/models/cifar10/model.toml")),
        text(
            "name = \"m\"\ndescription = \"\"\nlicense = \"MIT\"\nsource = \"\"\ngraph = { file = \"g\", engine = \"fake\" }\n\
             inputs = [{ name = \"x\", dtype = \"I64\", shape = [-1, 4] }]\noutputs = [{ name = \"y\", dtype = \"BF16\", shape = [] }]\n",
        ),
    ]
}

/// Manifests whose files need not be there to be checked.
pub(crate) fn manifest_seeds() -> Vec<Input> {
    let head = "spin_manifest_version = 2\n[application]\nname = \"a\"\n";
    [
        "[[trigger.http]]\nroute = \"/:a/b/...\"\ncomponent = \"c\"\n[component.c]\nsource = \"c.wasm\"\nallowed_outbound_hosts = []\n\
         [component.c.tool.modelfn]\nmodels = [\"m\"]\ntimeout = \"2s\"\nmemory = \"128MiB\"\npublic = [\"GET /\", \"POST /:x/...\"]\n",
        "[[trigger.http]]\nroute = \"/x\"\ncomponent = { static_response = { status_code = 404, headers = { a = \"b\" }, body = \"no\" } }\n",
        "[[trigger.http]]\nroute = \"/...\"\ncomponent = \"c\"\nexecutor = { type = \"spin\" }\n[component.c]\n\
         source = { url = \"file:///c.wasm\", digest = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\" }\n\
         files = [{ source = \"/\", destination = \"/m\" }]\nenvironment = { A = \"1\" }\n",
    ]
    .map(|rest| text(&format!("{head}{rest}")))
    .into()
}

/// Graphs of other tests: with operators that trap, with functions, with weights in other files and with maps.
pub(crate) fn graph_seeds() -> Vec<Input> {
    let graphs: [&[u8]; 7] = [
        include_bytes!("../fixtures/hostile/add/model.onnx"),
        include_bytes!("../fixtures/hostile/endless-loop/model.onnx"),
        include_bytes!("../fixtures/external/two-files/model.onnx"),
        include_bytes!("../fixtures/external/offset/model.onnx"),
        include_bytes!("../fixtures/open/picture.onnx"),
        include_bytes!("../fixtures/tensors/zipmap-ints/model.onnx"),
        include_bytes!("../fixtures/tensors/zipmap-strings/model.onnx"),
    ];
    graphs.map(|graph| Input { path: String::new(), json_length: None, body: graph.to_vec() }).into()
}

/// Requests as curl and the clients of KServe and Triton send them.
pub(crate) fn seeds() -> Vec<Input> {
    let infer = "/v2/models/m/infer";
    vec![
        Input::new(
            infer,
            r#"{"id":"42","inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2.5],[-3e-2,4]]},{"name":"n","shape":[1],"datatype":"INT64","data":[7]}],"outputs":[{"name":"y"}]}"#,
            b"",
        ),
        Input::new(
            "/v2/models/m/versions/1/infer",
            r#"{"parameters":{"binary_data_output":true,"timeout":5000},"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}},{"name":"n","shape":[1],"datatype":"INT64","parameters":{"binary_data_size":8}}]}"#,
            &[0, 0, 128, 63, 0, 0, 192, 127, 1, 2, 3, 4, 5, 6, 7, 8],
        ),
        Input::new(
            "/v2/models/caf%C3%A9/infer",
            r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}},{"name":"n","shape":[1],"datatype":"INT64","data":[9223372036854775807]}],"outputs":[{"name":"y","parameters":{"classification":3,"binary_data":false}},{"name":"h","parameters":{"binary_data":true}}]}"#,
            &[255, 255, 127, 127, 1, 0, 0, 0],
        ),
        Input::new(
            infer,
            r#"{"inputs":[{"name":"x","shape":[0,2],"datatype":"FP32","data":[]},{"name":"n","shape":[1],"datatype":"UINT8","data":[255],"parameters":{"other":null}}],"outputs":[{"name":"h","parameters":{"classification":1}}],"parameters":{"priority":1}}"#,
            b"",
        ),
        Input::new(
            infer,
            r#"{"inputs":[{"name":"x","shape":[2,2],"datatype":"BF16","parameters":{"binary_data_size":8}},{"name":"n","shape":[1,1],"datatype":"FP16","parameters":{"binary_data_size":2}}],"outputs":[{"name":"y"}]}"#,
            &[128, 63, 192, 127, 0, 128, 255, 255, 0, 60],
        ),
        Input::new(
            infer,
            r#"{"inputs":[{"name":"x","shape":[3],"datatype":"FP64","data":[1e308,5e-324,-0.0]},{"name":"n","shape":[2,1],"datatype":"INT32","data":[[-2147483648],[2147483647]]}],"outputs":[{"name":"y"}]}"#,
            b"",
        ),
        Input::new(
            infer,
            r#"{"inputs":[{"name":"x","shape":[2,1],"datatype":"BYTES","data":["a\u00e9",""]},{"name":"n","shape":[2],"datatype":"BOOL","data":[true,false]}],"outputs":[{"name":"s"}]}"#,
            b"",
        ),
        Input::new(
            infer,
            r#"{"inputs":[{"name":"x","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}},{"name":"n","shape":[2],"datatype":"BOOL","parameters":{"binary_data_size":2}}],"outputs":[{"name":"s","parameters":{"binary_data":true}}]}"#,
            &[3, 0, 0, 0, b'a', 0xc3, 0xa9, 0, 0, 0, 0, 1, 0],
        ),
        Input { json_length: Some(0), ..Input::new("/v2/models/raw/infer", "", &[1, 2, 3, 4, 5, 6, 7, 8]) },
    ]
}
