//! The IDX format of MNIST: a magic number, big-endian sizes, then bytes.

use anyhow::{Result, bail};
use tch::Tensor;

use super::{File, Split};

impl File {
    /// The sizes of an IDX file of unsigned bytes with this many dimensions, and its content.
    fn parse_idx(&self, dimensions: usize) -> Result<(Vec<usize>, &[u8])> {
        let origin = &self.origin;
        let header = 4 + 4 * dimensions;
        if self.bytes.len() < header {
            bail!("{origin}: {} bytes are too few for an IDX file", self.bytes.len());
        }
        let expected = [0, 0, 8, dimensions as u8];
        if self.bytes[..4] != expected {
            bail!(
                "{origin}: starts with the magic number {:?}; an IDX file of unsigned bytes with \
                 {dimensions} dimension(s) starts with {expected:?}",
                &self.bytes[..4]
            );
        }
        let (sizes, _) = self.bytes[4..header].as_chunks();
        let sizes: Vec<usize> = sizes.iter().map(|it| u32::from_be_bytes(*it) as usize).collect();
        let content = &self.bytes[header..];
        let announced = sizes.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
        if announced != Some(content.len()) || content.is_empty() {
            bail!("{origin}: announces {sizes:?} values, but {} bytes follow", content.len());
        }
        Ok((sizes, content))
    }
}

/// Images as unsigned bytes `[N, height · width]` and their labels, from 0 to 9, on the CPU.
pub(super) fn samples(images: &File, labels: &File) -> Result<Split> {
    Ok(Split::new(self::images(images)?, self::labels(labels, 10)?))
}

fn images(file: &File) -> Result<Tensor> {
    let (sizes, content) = file.parse_idx(3)?;
    let shape = [sizes[0] as i64, (sizes[1] * sizes[2]) as i64];
    Ok(Tensor::from_slice(content).reshape(shape))
}

fn labels(file: &File, classes: u8) -> Result<Tensor> {
    let (_, content) = file.parse_idx(1)?;
    if let Some(row) = content.iter().position(|&label| label >= classes) {
        let (origin, label, last) = (&file.origin, content[row], classes - 1);
        bail!("{origin}: label {label} of sample {row} is not a class from 0 to {last}");
    }
    Ok(Tensor::from_slice(content))
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        File { origin: "some.idx".into(), bytes: bytes.to_vec() }
    }

    #[test]
    fn two_images_of_one_by_two() {
        let bytes = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 9, 8, 7, 255];
        let images = images(&file(&bytes)).unwrap();
        let rows: Vec<Vec<i64>> = images.to_kind(Kind::Int64).try_into().unwrap();
        assert_eq!(rows, [[9, 8], [7, 255]]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(sizes: [u32; 3], few: [u8; 3], content: Vec<u8>) {
            for dimensions in [1u8, 3] {
                for sizes in [sizes, few.map(u32::from)] {
                    let sizes: Vec<u8> = sizes[..dimensions.into()].iter().flat_map(|it| it.to_be_bytes()).collect();
                    let bytes = [&[0, 0, 8, dimensions], &sizes[..], &content].concat();
                    let _ = images(&file(&bytes));
                    let _ = labels(&file(&bytes), 10);
                    let _ = images(&file(&content));
                }
            }
        }
    }

    #[test]
    fn malformed_files_are_refused_by_name() {
        let refused = |bytes: &[u8], reason: &str| {
            let error = labels(&file(bytes), 10).unwrap_err().to_string();
            assert!(error.starts_with("some.idx: ") && error.contains(reason), "{error}");
        };
        refused(&[0, 0, 8], "3 bytes are too few");
        refused(&[0, 0, 8, 3, 0, 0, 0, 1, 5], "magic number [0, 0, 8, 3]");
        refused(&[0, 0, 8, 1, 0, 0, 0, 2, 5], "announces [2] values, but 1 bytes");
        refused(&[0, 0, 8, 1, 0, 0, 0, 1, 5, 6], "announces [1] values, but 2 bytes");
        refused(&[0, 0, 8, 1, 0, 0, 0, 0], "announces [0] values");
        refused(&[0, 0, 8, 1, 0, 0, 0, 2, 5, 10], "label 10 of sample 1");
    }
}
