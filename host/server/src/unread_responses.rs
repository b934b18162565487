//! Responses that are whole before their client has read any of them: their bytes are reserved until they are sent, and a
//! large one is dropped when its client reads nothing of it for a while.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use modelfn_wasm::body_channel::{self, MAX_LINGERING};
use modelfn_wasm::process_memory::ProcessMemory;

use crate::problem::Problem;
use crate::response_body::ResponseBody;

/// What unread responses may take.
pub(crate) struct UnreadResponses {
    memory: ProcessMemory,
    timeout: Duration,
}

impl UnreadResponses {
    /// Responses whose bytes are reserved from `memory`, and which may be left unread for `timeout`.
    pub(crate) fn new(memory: ProcessMemory, timeout: Duration) -> Self {
        UnreadResponses { memory, timeout }
    }

    /// The response, with its bytes reserved.
    ///
    /// # Errors
    ///
    /// [`Problem::MemoryFull`].
    pub(crate) fn hold(&self, response: Response<Bytes>) -> Result<Response<ResponseBody>, Problem> {
        let (head, bytes) = response.into_parts();
        let bytes = self.memory.hold(bytes, MAX_LINGERING).map_err(|_| Problem::MemoryFull)?;
        Ok(self.deliver(Response::from_parts(head, bytes)))
    }

    /// The response, whose bytes are reserved already for as long as they live.
    pub(crate) fn deliver(&self, response: Response<Bytes>) -> Response<ResponseBody> {
        response.map(|bytes| if bytes.len() <= MAX_LINGERING { whole(bytes) } else { self.in_frames(bytes) })
    }

    /// A body of several frames, so that what was not read yet can be taken back. Neither a frame nor a body that is sent
    /// whole is larger than [`MAX_LINGERING`].
    fn in_frames(&self, mut bytes: Bytes) -> ResponseBody {
        let (sender, receiver) = body_channel::channel();
        while !bytes.is_empty() {
            sender.send(Frame::data(bytes.split_to(bytes.len().min(MAX_LINGERING))));
        }
        sender.finish();
        let timeout = self.timeout;
        tokio::spawn(async move {
            if sender.wait_until_unread(MAX_LINGERING, timeout).await.is_err() {
                sender.discard();
            }
        });
        receiver.map_err(Into::into).boxed_unsync()
    }
}

fn whole(bytes: Bytes) -> ResponseBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
