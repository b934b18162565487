//! The bytes of a picture become the input tensor of a network: decode, crop, scale, turn upright, normalise, lay out.
//!
//! Pure: this crate opens no file and knows neither HTTP nor WIT. Modules use only those listed above them.

#[cfg(test)]
#[path = "../../../tests/random.rs"]
mod random;
mod error;
mod types;
mod fixed;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd;
mod color;
mod raster;
mod exif;
mod limits;
mod bmp;
mod gif;
mod png;
mod webp;
mod jpeg;
mod picture;
mod resample;
mod rgb;
mod rectify;
mod preprocess;

pub use error::{Error, ErrorKind};
pub use image::RgbImage;
pub use image::imageops::{rotate180_in_place, rotate270};
pub use modelfn_card::image::{Color, Filter, Layout, Preprocessing, Resize, Scale};
pub use picture::decode;
pub use preprocess::tensor;
pub use rectify::rectify;
pub use rgb::{resize, rgb};
pub use types::{ColorModel, CropBox, Picture, Plane, Raster, Samples, Window};
