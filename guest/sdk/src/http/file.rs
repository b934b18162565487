//! Requests that upload one file: as their body, or in a form.

use super::{essence, is_form};
use crate::multipart::Form;
use crate::problem::Problem;

/// The kind of files that a function takes, for [`Request::upload`](crate::Request::upload).
#[derive(Debug, Clone, Copy)]
pub struct FileKind {
    /// What people call it, with an article: `a picture`.
    pub name: &'static str,
    /// The beginning of its media types, in lower case: `image/` stands for all pictures.
    pub media_type: &'static str,
    /// The name of a file that an example uploads: `cat.jpg`.
    pub example: &'static str,
}

/// The body of a request that uploads a file.
#[derive(Debug)]
pub struct Upload(Content);

#[derive(Debug)]
enum Content {
    File(Vec<u8>),
    Form(Form),
}

impl Upload {
    pub(super) fn new(bytes: Vec<u8>, content_type: &str) -> Result<Self, Problem> {
        Ok(Self(if is_form(content_type) {
            Content::Form(Form::new(bytes, content_type)?)
        } else {
            Content::File(bytes)
        }))
    }

    /// The file that was sent: the body itself, or in a form its field `name`.
    ///
    /// # Errors
    ///
    /// 400 for a form that is broken, cut off, lacks the field, or has no file in it.
    pub fn file(&self, name: &str) -> Result<&[u8], Problem> {
        match &self.0 {
            Content::File(bytes) => Ok(bytes),
            Content::Form(form) => form.file(name),
        }
    }
}

impl FileKind {
    /// Refuses a body whose declared type rules out this kind of file, before it is uploaded.
    ///
    /// `application/x-www-form-urlencoded` passes, since `curl --data-binary` declares it for any file.
    pub(super) fn check_content_type(self, content_type: &str) -> Result<(), Problem> {
        let essence = essence(content_type);
        match essence.as_str() {
            "" | "application/octet-stream" | "application/x-www-form-urlencoded" => Ok(()),
            form if is_form(form) => Ok(()),
            own if own.starts_with(self.media_type) => Ok(()),
            _ => {
                let any = if self.media_type.ends_with('/') { "*" } else { "" };
                Err(Problem::unsupported_media(format!(
                    "the Content-Type is not that of {}; send {}{any}, application/octet-stream or multipart/form-data",
                    self.name, self.media_type
                )))
            }
        }
    }

    /// `a smaller picture`, of the name `a picture`.
    pub(super) fn smaller(self) -> String {
        let (_, noun) = self.name.split_once(' ').unwrap_or(("", self.name));
        format!("a smaller {noun}")
    }
}
