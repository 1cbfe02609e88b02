//! The largest of each 2 x 2 pixels, on the CPU. libtorch's loop takes about ten times as long for images
//! whose channels are not side by side in memory.
//!
//! Legend: b images of c channels with r x s pixels.

use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use anyhow::{Result, bail};
use tch::{Device, Kind, Tensor};

use super::{openmp, pointer};

unsafe extern "C" {
    fn f3_max_pool(z: *const f32, planes: i64, r: i64, s: i64, h: *mut f32, places: *mut i32);
    fn f3_max_pool_backward(
        h: *const f32,
        places: *const i32,
        planes: i64,
        r: i64,
        s: i64,
        z: *mut f32,
    );
}

/// Pools images `[b, c, r, s]`, leaving out an odd last row or column: gives the largest values
/// `[b, c, r/2, s/2]`, and as int32 of the same shape where they were: 0 and 1 above, 2 and 3 below. Of
/// equal values it is the first; what is not a number counts as the largest.
///
/// # Errors
/// If the images are not contiguous float32 on the CPU, or memory runs out.
pub(crate) fn max_pool(images: &Tensor) -> Result<(Tensor, Tensor)> {
    let (count, channels, r, s) = images.size4()?;
    let shape = [count, channels, r / 2, s / 2];
    let values = Tensor::f_empty(shape, (Kind::Float, Device::Cpu))?;
    let places = Tensor::f_empty(shape, (Kind::Int, Device::Cpu))?;
    let z = AtomicPtr::new(pointer(images, &images.size())?);
    let h = AtomicPtr::new(pointer(&values, &shape)?);
    let of = AtomicPtr::new(places.data_ptr().cast::<i32>());
    openmp::for_each(count as usize, &|image| {
        let (whole, pooled) = (channels * r * s, channels * (r / 2) * (s / 2));
        // SAFETY: an image of each of the three tensors, which no other call writes to.
        unsafe {
            let (h, of) = (at(&h, image, pooled), at(&of, image, pooled));
            f3_max_pool(at(&z, image, whole), channels, r, s, h, of);
        }
    });
    Ok((values, places))
}

/// The gradient of the images `[b, c, r, s]` from that of what [`max_pool`] made of them.
///
/// # Errors
/// If the gradient is not contiguous float32 on the CPU, or memory runs out.
pub(crate) fn max_pool_backward(
    gradient: &Tensor,
    places: &Tensor,
    [r, s]: [i64; 2],
) -> Result<Tensor> {
    let (count, channels, ..) = places.size4()?;
    let shape = [count, channels, r / 2, s / 2];
    if places.size() != shape || places.kind() != Kind::Int || !places.is_contiguous() {
        bail!("places {:?} {:?} of values {shape:?}", places.kind(), places.size());
    }
    let images = Tensor::f_empty([count, channels, r, s], (Kind::Float, Device::Cpu))?;
    let h = AtomicPtr::new(pointer(gradient, &shape)?);
    let of = AtomicPtr::new(places.data_ptr().cast::<i32>());
    let z = AtomicPtr::new(pointer(&images, &images.size())?);
    openmp::for_each(count as usize, &|image| {
        let (whole, pooled) = (channels * r * s, channels * (r / 2) * (s / 2));
        // SAFETY: an image of each of the three tensors, which no other call writes to.
        unsafe {
            let (h, of) = (at(&h, image, pooled), at(&of, image, pooled));
            f3_max_pool_backward(h, of, channels, r, s, at(&z, image, whole));
        }
    });
    Ok(images)
}

/// Where an image of so many numbers begins.
///
/// # Safety
/// The tensor has this image.
unsafe fn at<T>(tensor: &AtomicPtr<T>, image: usize, numbers: i64) -> *mut T {
    // SAFETY: as above.
    unsafe { tensor.load(Relaxed).add(image * numbers as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::Generator;

    /// Small whole numbers, so that there are equal ones.
    fn images(size: [i64; 4]) -> Tensor {
        Generator::new(3).unwrap().integers(&size, 4).unwrap().to_kind(Kind::Float)
    }

    #[test]
    fn agrees_with_libtorch_where_sizes_are_odd_and_values_equal() {
        for (height, width) in [(2, 2), (5, 7), (28, 28), (3, 36), (8, 5)] {
            let images = images([3, 2, height, width]);
            let (values, places) = max_pool(&images).unwrap();
            let two = [2i64, 2];
            let (expected, indices) =
                images.max_pool2d_with_indices(two, two, [0i64, 0], [1i64, 1], false);
            assert_eq!(values, expected);
            let gradient = values + 1.0;
            let back = max_pool_backward(&gradient, &places, [height, width]).unwrap();
            let expected = images.max_pool2d_with_indices_backward(
                &gradient,
                two,
                two,
                [0i64, 0],
                [1i64, 1],
                false,
                &indices,
            );
            assert_eq!(back, expected, "{height} x {width}");
        }
    }

    #[test]
    fn what_is_not_a_number_comes_through() {
        for place in 0..4 {
            let values: Vec<f32> =
                (0..4).map(|it| if it == place { f32::NAN } else { 1.0 }).collect();
            let images = Tensor::from_slice(&values).view([1, 1, 2, 2]);
            let (pooled, places) = max_pool(&images).unwrap();
            assert!(pooled.double_value(&[0, 0, 0, 0]).is_nan());
            assert_eq!(places.int64_value(&[0, 0, 0, 0]), place as i64);
        }
    }
}
