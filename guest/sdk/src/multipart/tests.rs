use super::*;
use crate::random::Random;

const TYPE: &str = "multipart/form-data; boundary=XX";

fn image(body: &[u8]) -> Result<Vec<u8>, Problem> {
    file(body, TYPE)
}

fn file(body: &[u8], content_type: &str) -> Result<Vec<u8>, Problem> {
    Form::new(body.to_vec(), content_type)?.file("image").map(<[u8]>::to_vec)
}

#[test]
fn finds_the_field_among_others() {
    let body = b"preamble\r\n--XX\r\nContent-Disposition: form-data; name=\"top_k\"\r\n\r\n3\r\n--XX\r\n\
        content-disposition: form-data; name=\"image\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n\
        \x00\xFF\r\n--X\r\n\r\n--XX--\r\nepilogue";
    assert_eq!(image(body), Ok(b"\x00\xFF\r\n--X\r\n".to_vec()));
}

#[test]
fn a_file_name_is_not_a_field_name() {
    let body = b"--XX\r\nContent-Disposition: form-data; filename=\"; name=\\\"image\\\"; \"; name=other\r\n\r\nno\r\n--XX\r\n\
        Content-Disposition: form-data; name=image\r\n\r\nyes\r\n--XX--";
    assert_eq!(image(body), Ok(b"yes".to_vec()));
}

#[test]
fn parts_may_be_empty_or_nameless() {
    let body = b"--XX\r\n\r\nno name\r\n--XX\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n\r\n--XX--";
    let form = Form::new(body.to_vec(), TYPE).unwrap();
    let parts = form.parts().map(|part| part.map(|part| (part.name, part.content)));
    let expected: [(String, &[u8]); 2] = [(String::new(), b"no name"), ("image".to_owned(), b"")];
    assert_eq!(parts.collect::<Result<Vec<_>, _>>().unwrap(), expected);
    assert!(form.file("image").unwrap_err().detail.contains("is empty"));
}

#[test]
fn a_part_tells_its_file_and_type() {
    let body =
        b"--XX\r\nContent-Disposition: form-data; name=\"a\"; filename=\"x y.txt\"\r\nContent-Type: text/plain\r\n\r\n\
        1\r\n--XX\r\nContent-Disposition: form-data; name=b\r\n\r\n\xFF\r\n--XX--";
    let form = Form::new(body.to_vec(), TYPE).unwrap();
    let part = form.parts().next().unwrap().unwrap();
    assert_eq!((part.file_name.as_deref(), part.content_type.as_deref()), (Some("x y.txt"), Some("text/plain")));
    assert_eq!(form.text("a"), Ok(Some("1")));
    assert_eq!(form.text("c"), Ok(None));
    assert!(form.text("b").unwrap_err().detail.contains("UTF-8"));
}

#[test]
fn nothing_follows_a_broken_part() {
    let body =
        b"--XX\r\nno header line\r\n\r\n\r\n--XX\r\nContent-Disposition: form-data; name=image\r\n\r\nx\r\n--XX--";
    let form = Form::new(body.to_vec(), TYPE).unwrap();
    assert_eq!(form.parts().map(|part| part.is_ok()).collect::<Vec<_>>(), [false]);
}

#[test]
fn the_boundary_may_be_quoted() {
    for header in ["multipart/form-data; boundary=\"a b\"", "multipart/form-data; charset=x; Boundary=\"a\\ b\""] {
        assert_eq!(parameter(header, "boundary").as_deref(), Some("a b"));
    }
    assert_eq!(parameter("multipart/form-data; boundary= XX ;x=y", "boundary").as_deref(), Some("XX"));
    assert_eq!(parameter("multipart/form-data", "boundary"), None);
    assert_eq!(parameter("multipart/form-data; boundary", "boundary"), None);
}

#[test]
fn every_refusal_is_a_400_that_says_why() {
    let refused = |content_type: &str, body: &[u8], why: &str| {
        let problem = file(body, content_type).unwrap_err();
        assert_eq!(problem.status, 400);
        assert!(problem.detail.contains(why), "{}", problem.detail);
    };
    refused("multipart/form-data", b"", "no boundary");
    refused("multipart/form-data; boundary=\"\"", b"", "no boundary");
    refused(TYPE, b"", "does not hold the boundary");
    refused(TYPE, b"x--XX\r\n", "does not hold the boundary");
    refused(TYPE, b"--XX--\r\n", "no field 'image'");
    refused(TYPE, b"--XX\r\nContent-Disposition: form-data; name=x\r\n\r\n\r\n--XX--\r\n", "no field 'image'");
    refused(TYPE, b"--XX\r\nContent-Disposition: form-data; name=image\r\n\r\nhalf a pic", "cut off");
    refused(TYPE, b"--XX\r\nContent-Disposition: form-data; name=image\r\n\r\n\r\n--XX--\r\n", "is empty");
    refused(TYPE, b"--XX\r\nno header line\r\n\r\n\r\n--XX--", "broken header");
}

#[test]
fn no_bytes_make_it_panic() {
    let alphabet =
        [&b"--XX"[..], b"\r\n", b"Content-Disposition: form-data", b"; name=", b"image", b"\"", b"\\", b"\xFF", b"--"];
    let mut random = Random::new(1);
    for _ in 0..20_000 {
        let mut body = Vec::new();
        for _ in 0..12 {
            body.extend_from_slice(alphabet[random.below(alphabet.len())]);
        }
        let _ = image(&body);
        let _ = parameter(&String::from_utf8_lossy(&body), "name");
    }
}
