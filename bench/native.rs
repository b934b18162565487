//! What a function does, without HTTP, wasm and server, by the crates that whoever writes it natively would take. One
//! thread a core, each with its own single-thread session of the host's engine.
//!
//! `cargo bench -p modelfn --bench native -- --model models/efficientnet-lite0 --picture FILE=CLASS`; prints one JSON
//! object. Pictures are decoded whole, as these crates do.

#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::error::Error;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use modelfn_card::image::{Color, Filter, Layout, Preprocessing, Resize};
use modelfn_card::{CARD_FILE, Card};
use modelfn_nn::tensor::DType;
use ort::environment::Environment;
use ort::session::{Session, SessionInputValue};
use ort::value::TensorRef;

/// What is classified, by what, and for how long.
#[derive(Parser)]
struct Args {
    /// The model's folder.
    #[arg(long)]
    model: PathBuf,
    /// A picture and its class; several are taken in turns.
    #[arg(long = "picture", value_name = "FILE=CLASS", required = true)]
    pictures: Vec<String>,
    /// The ONNX Runtime library.
    #[arg(long)]
    onnxruntime: PathBuf,
    /// How long is measured, after one second that does not count.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Threads. Without it: one a core.
    #[arg(long)]
    threads: Option<usize>,
    /// `cargo bench` adds this.
    #[arg(long, hide = true)]
    bench: bool,
}

type Failure = Box<dyn Error + Send + Sync>;

struct Task {
    card: Card,
    preprocessing: Preprocessing,
    labels: Vec<String>,
    pictures: Vec<(Vec<u8>, String)>,
    environment: Environment,
    graph: PathBuf,
}

/// Time by phase, over all pictures of a thread.
#[derive(Default)]
struct Laps {
    pictures: u32,
    decode: Duration,
    resize: Duration,
    tensor: Duration,
    engine: Duration,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let threads = match args.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism()?.get(),
    };
    let task = Task::read(&args)?;
    let started = Instant::now();
    let counts_from = started + Duration::from_secs(1);
    let ends = counts_from + Duration::from_secs_f64(args.seconds);
    let laps = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|first| {
                scope.spawn({
                    let task = &task;
                    move || task.run(first, counts_from, ends)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread does not panic")).collect::<Result<Vec<_>, _>>()
    })?;
    let pictures: u32 = laps.iter().map(|laps| laps.pictures).sum();
    let each = |phase: fn(&Laps) -> Duration| {
        laps.iter().map(phase).sum::<Duration>().as_secs_f64() * 1e3 / f64::from(pictures)
    };
    println!(
        "{}",
        serde_json::json!({
            "pictures": pictures, "rate": f64::from(pictures) / args.seconds, "threads": threads,
            "decode_ms": each(|l| l.decode), "resize_ms": each(|l| l.resize), "tensor_ms": each(|l| l.tensor),
            "engine_ms": each(|l| l.engine), "resident_mb": resident()?,
        })
    );
    Ok(())
}

impl Task {
    fn read(args: &Args) -> Result<Self, Failure> {
        let name = args.model.file_name().ok_or("--model must be a folder")?.to_string_lossy().into_owned();
        let card = Card::parse_in_folder(&std::fs::read_to_string(args.model.join(CARD_FILE))?, &name)?;
        let preprocessing = card.image_preprocessing()?.ok_or("the card has no [preprocessing]")?;
        if preprocessing.resize != Resize::Crop || preprocessing.color == Color::Gray {
            return Err("only cropped pictures in color are made here".into());
        }
        let labels = card.classification()?.and_then(|table| table.labels).ok_or("the card has no labels")?;
        let labels = std::fs::read_to_string(args.model.join(labels))?.lines().map(str::to_owned).collect();
        let pictures = args.pictures.iter().map(|picture| {
            let (file, class) = picture.split_once('=').ok_or("--picture is FILE=CLASS")?;
            Ok::<_, Failure>((std::fs::read(file)?, class.to_owned()))
        });
        let pictures = pictures.collect::<Result<_, _>>()?;
        let environment = ort::init_from(&args.onnxruntime)?.with_name("native").with_telemetry(false).build()?;
        Ok(Task { graph: args.model.join(&card.graph.file), card, preprocessing, labels, pictures, environment })
    }

    /// Classifies until `ends`; what is done before `counts_from` is not counted.
    fn run(&self, first: usize, counts_from: Instant, ends: Instant) -> Result<Laps, Failure> {
        let mut session = open_session(&self.environment, &self.graph)?;
        let mut resizer = Resizer::new();
        let mut laps = Laps::default();
        for (picture, class) in self.pictures.iter().cycle().skip(first) {
            let lap = self.classify(picture, class, &mut session, &mut resizer)?;
            let now = Instant::now();
            if now >= ends {
                break;
            }
            if now >= counts_from {
                laps.add(lap);
            }
        }
        Ok(laps)
    }

    fn classify(
        &self,
        picture: &[u8],
        class: &str,
        session: &mut Session,
        resizer: &mut Resizer,
    ) -> Result<Laps, Failure> {
        let preprocessing = &self.preprocessing;
        let (input, output) = (&self.card.inputs[0], &self.card.outputs[0]);
        let began = Instant::now();
        let pixels = image::ImageReader::new(Cursor::new(picture)).with_guessed_format()?.decode()?.into_rgb8();
        let decoded = Instant::now();
        let small = scale(&pixels, preprocessing, resizer)?;
        let scaled = Instant::now();
        let (width, height) = (preprocessing.size.0 as usize, preprocessing.size.1 as usize);
        let shape = match preprocessing.layout {
            Layout::Nchw => [1, 3, height, width],
            Layout::Nhwc => [1, height, width, 3],
        };
        // One of them is empty.
        let (bytes, floats) = match input.dtype {
            DType::U8 if preprocessing.is_identity() => (small, Vec::new()),
            DType::U8 => (lay_out(&small, preprocessing, |value| value.round() as u8), Vec::new()),
            _ => (Vec::new(), lay_out(&small, preprocessing, |value| value)),
        };
        let value: SessionInputValue = match input.dtype {
            DType::U8 => TensorRef::from_array_view((shape, bytes.as_slice()))?.into(),
            _ => TensorRef::from_array_view((shape, floats.as_slice()))?.into(),
        };
        let laid_out = Instant::now();
        let outputs = session.run([value])?;
        let scores = outputs[output.name.as_str()].try_extract_tensor::<f32>()?.1;
        let computed = Instant::now();
        let best = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).ok_or("there are no scores")?;
        if self.labels[best] != class {
            return Err(format!("a wrong answer: {} instead of {class}", self.labels[best]).into());
        }
        Ok(Laps {
            pictures: 1,
            decode: decoded - began,
            resize: scaled - decoded,
            tensor: laid_out - scaled,
            engine: computed - laid_out,
        })
    }
}

impl Laps {
    fn add(&mut self, other: Laps) {
        self.pictures += other.pictures;
        self.decode += other.decode;
        self.resize += other.resize;
        self.tensor += other.tensor;
        self.engine += other.engine;
    }
}

fn open_session(environment: &Environment, graph: &Path) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .commit_from_file(graph)
}

/// The centred window at the network's size.
fn scale(pixels: &image::RgbImage, card: &Preprocessing, resizer: &mut Resizer) -> Result<Vec<u8>, Failure> {
    let (width, height) = (f64::from(pixels.width()), f64::from(pixels.height()));
    let aspect = f64::from(card.size.0) / f64::from(card.size.1);
    let (wide, high) = if width > height * aspect { (height * aspect, height) } else { (width, width / aspect) };
    let (wide, high) = ((wide * card.crop).min(width), (high * card.crop).min(height));
    let filter = match card.filter {
        Filter::Bicubic => FilterType::CatmullRom,
        Filter::Bilinear => FilterType::Bilinear,
    };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).crop(
        (width - wide) / 2.0,
        (height - high) / 2.0,
        wide,
        high,
    );
    let source = TypedImageRef::<U8x3>::from_buffer(pixels.width(), pixels.height(), pixels.as_raw())?;
    let mut small = vec![0; card.size.0 as usize * card.size.1 as usize * 3];
    let mut target = TypedImage::<U8x3>::from_buffer(card.size.0, card.size.1, &mut small)?;
    resizer.resize_typed(&source, &mut target, &options)?;
    drop(target);
    Ok(small)
}

/// `(p - mean) / std`, in the card's order.
fn lay_out<T: Copy + Default>(rgb: &[u8], card: &Preprocessing, encode: fn(f32) -> T) -> Vec<T> {
    let tables: [[T; 256]; 3] =
        std::array::from_fn(|channel| std::array::from_fn(|sample| encode(card.normalize(channel, sample as u8))));
    let order = match card.color {
        Color::Rgb | Color::Gray => [0, 1, 2],
        Color::Bgr => [2, 1, 0],
    };
    let (pixels, _) = rgb.as_chunks::<3>();
    let mut tensor = vec![T::default(); rgb.len()];
    match card.layout {
        Layout::Nhwc => {
            for (target, pixel) in tensor.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
                *target = std::array::from_fn(|channel| tables[channel][usize::from(pixel[order[channel]])]);
            }
        }
        Layout::Nchw => {
            for ((plane, table), from) in tensor.chunks_exact_mut(pixels.len()).zip(&tables).zip(order) {
                for (target, pixel) in plane.iter_mut().zip(pixels) {
                    *target = table[usize::from(pixel[from])];
                }
            }
        }
    }
    tensor
}

/// Megabytes.
fn resident() -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024.0 / 1e6)
}
