use modelfn_card::image::Layout;

use super::*;

fn base() -> Preprocessing {
    Preprocessing::new((224, 224), Layout::Nchw)
}

fn names(base: &Preprocessing, dtype: DType) -> Vec<String> {
    usual(base, dtype).into_iter().map(|variant| variant.what).collect()
}

#[test]
fn what_the_card_says_is_not_tried_again() {
    // 127 and 128 are nearly the values from -1 to 1.
    let lite = Preprocessing { mean: [127.0; 3], std: [128.0; 3], crop: 0.875, ..base() };
    let tried = names(&lite, DType::Fp32);
    assert!(!tried.iter().any(|what| what.contains("-1 to 1") || what.contains("seven eighths")), "{tried:?}");
    assert!(tried.contains(&"mean and std of ImageNet".to_owned()) && tried.contains(&"bicubic filter".to_owned()));
    assert_eq!(tried.iter().filter(|what| what.contains("0 to 255")).count(), 1);
    let all = usual(&base(), DType::Fp32);
    assert!(all.iter().all(|variant| variant.preprocessing != base()));
}

#[test]
fn bytes_are_not_normalised_and_gray_has_no_order() {
    assert_eq!(names(&base(), DType::U8).len(), 5);
    let gray = names(&Preprocessing { color: Color::Gray, ..base() }, DType::Fp32);
    assert!(gray.contains(&"mean and std of MNIST".to_owned()) && !gray.iter().any(|what| what.contains("ImageNet")));
    assert!(!gray.iter().any(|what| what.contains("order")));
}

/// Each channel keeps its own numbers.
#[test]
fn mean_and_std_follow_the_order_of_the_channels() {
    let rgb = Preprocessing { mean: [1.0, 2.0, 3.0], std: [4.0, 5.0, 6.0], ..base() };
    let bgr = colors(&rgb).unwrap().preprocessing;
    assert_eq!((bgr.color, bgr.mean, bgr.std), (Color::Bgr, [3.0, 2.0, 1.0], [6.0, 5.0, 4.0]));
    assert_eq!(colors(&bgr).unwrap().preprocessing, rgb);
    let of_imagenet = usual(&bgr, DType::Fp32).into_iter().find(|variant| variant.what == "mean and std of ImageNet");
    assert_eq!(of_imagenet.unwrap().preprocessing.mean, [0.406, 0.456, 0.485]);
}

/// The lines of a change, written into a card, mean that change.
#[test]
fn the_lines_of_a_card_say_what_was_tried() {
    let card = Preprocessing { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], crop: 0.875, ..base() };
    for variant in usual(&card, DType::Fp32) {
        let lines = card_lines(&card, &variant.preprocessing);
        let mut table = toml::Table::try_from(PreprocessingTable::from(&card)).unwrap();
        table.extend(lines.join("\n").parse::<toml::Table>().unwrap());
        let table: PreprocessingTable = table.try_into().unwrap();
        assert_eq!(table.resolve(None).unwrap(), variant.preprocessing, "{}: {lines:?}", variant.what);
    }
    let unit = Preprocessing { scale: Scale::Unit, ..card.clone() };
    assert_eq!(card_lines(&card, &unit)[..2], ["scale = 1", "mean = [0.485, 0.456, 0.406]"]);
    assert_eq!(card_lines(&card, &card), [""; 0]);
    let padded = Preprocessing { resize: Resize::Pad, crop: 1.0, ..card.clone() };
    assert_eq!(card_lines(&card, &padded), ["resize = \"pad\"", "crop = 1.0"]);
}
