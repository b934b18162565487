use super::*;

fn floats(dtype: DType, data: &[u8]) -> Option<Vec<f32>> {
    let shape = vec![data.len() / dtype.size().unwrap()];
    DynTensor { dtype, shape, data: data.to_vec() }.floats()
}

#[test]
fn four_kinds_of_floats_are_read() {
    assert_eq!(floats(DType::Fp32, &1.5f32.to_le_bytes()), Some(vec![1.5]));
    assert_eq!(floats(DType::Fp64, &1.5f64.to_le_bytes()), Some(vec![1.5]));
    assert_eq!(floats(DType::Bf16, &0x3FC0u16.to_le_bytes()), Some(vec![1.5]));
    let halves = [0x3E00u16, 0xC000, 0x0001, 0x7BFF, 0x7C00, 0x8000];
    let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
    assert_eq!(floats(DType::Fp16, &bytes), Some(vec![1.5, -2.0, 2f32.powi(-24), 65504.0, f32::INFINITY, -0.0]));
    assert!(floats(DType::Fp16, &0x7C01u16.to_le_bytes()).is_some_and(|values| values[0].is_nan()));
    assert_eq!(floats(DType::U8, &[1]), None);
}

#[test]
fn shape_and_elements_must_agree() {
    assert_eq!(Tensor::new([2, 3], vec![0i64; 6]).unwrap().shape(), [2, 3]);
    assert_eq!(Tensor::new(Vec::new(), vec![7u8]).unwrap(), Tensor::scalar(7));
    assert_eq!(Tensor::new([0, 3], Vec::<f32>::new()).unwrap().rows().len(), 0);
    for shape in [vec![2, 2], vec![], vec![usize::MAX, usize::MAX]] {
        let problem = Tensor::new(shape, vec![0f32; 6]).unwrap_err();
        assert_eq!(problem.status, 500);
        assert!(problem.detail.contains("6 elements"), "{}", problem.detail);
    }
}

#[test]
fn rows_of_a_request_must_be_equally_long() {
    let tensor = Tensor::from_rows([[1f32, 2.0], [3.0, 4.0]]).unwrap();
    assert_eq!((tensor.shape(), tensor.data()), (&[2, 2][..], &[1.0, 2.0, 3.0, 4.0][..]));
    assert_eq!(tensor.rows().collect::<Vec<_>>(), [[1.0, 2.0], [3.0, 4.0]]);
    assert_eq!(Tensor::<f32>::from_rows(Vec::<Vec<f32>>::new()).unwrap_err().status, 400);
    let problem = Tensor::from_rows([vec![1i32], vec![2], vec![]]).unwrap_err();
    assert_eq!((problem.status, problem.detail.contains("row 2 has 0 values")), (400, true));
}

#[test]
fn bytes_are_little_endian_whatever_their_alignment() {
    let tensor = Tensor::vector([1i32, -2]);
    assert_eq!(tensor.bytes(), [1, 0, 0, 0, 0xFE, 0xFF, 0xFF, 0xFF]);
    let unaligned = [&[0u8][..], tensor.bytes()].concat();
    let dynamic = DynTensor { dtype: DType::I32, shape: vec![2], data: unaligned[1..].to_vec() };
    assert_eq!(dynamic.to::<i32>().unwrap(), tensor);
    assert!(dynamic.to::<f32>().unwrap_err().detail.contains("FP32 was asked for, and it is one of I32"));
    let short = DynTensor { shape: vec![3], ..dynamic };
    assert_eq!(short.to::<i32>().unwrap_err().status, 500);
}

#[cfg(feature = "ndarray")]
#[test]
fn arrays_become_tensors_in_row_major_order() {
    let array = ndarray::array![[1f32, 2.0, 3.0], [4.0, 5.0, 6.0]];
    let tensor = Tensor::from(array.clone());
    assert_eq!(tensor.view(), array.view().into_dyn());
    let transposed = Tensor::from(array.t().to_owned());
    assert_eq!((transposed.shape(), transposed.data()), (&[3, 2][..], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0][..]));
    let cut = array.slice_move(ndarray::s![1.., 1..]);
    assert_eq!(Tensor::from(cut).data(), [5.0, 6.0]);
}
