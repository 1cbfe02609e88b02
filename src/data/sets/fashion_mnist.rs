//! Fashion-MNIST: 70,000 pieces of clothing of 28 x 28 pixels (Xiao et al. 2017), in MNIST's format.

use anyhow::Result;

use super::mnist;
use crate::data::{About, DataSet, Files, Place, Publication, RawDataset, Report, Targets};

standardized! {
    /// Fashion-MNIST.
    pub struct FashionMnist {}
}

const NAME: &str = "fashion_mnist";

const CLOTHES: &str =
    "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot";

impl DataSet for FashionMnist {
    fn about(&self) -> About {
        mnist::about(NAME, &PUBLICATION)
    }

    fn read(&self, files: &Files, _: Report) -> Result<RawDataset> {
        mnist::read(NAME, Targets::classes(CLOTHES.split(", ")), files, self.standardize)
    }
}

static PUBLICATION: Publication = Publication {
    files: &mnist::files([
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ]),
    places: &[
        Place::System {
            folder: "/usr/share/datasets/fashion-mnist",
            install: "apt install dataset-fashion-mnist",
        },
        Place::GzipMirror(
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        Place::GzipMirror(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
    ],
};
