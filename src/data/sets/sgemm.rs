//! SGEMM: run times of a GPU's matrix product in 241,600 settings (Nugteren & Codreanu 2015),
//! prepared as in the paper.

use anyhow::Result;

use crate::data::table::Rows;
use crate::data::{
    About, Column, DataSet, Files, KnownFile, Place, Publication, RawDataset, Report, Split,
    TableFormat, Targets, Task, TrainingShape,
};

standardized! {
    /// SGEMM.
    pub struct Sgemm {}
}

const NAME: &str = "sgemm";

impl DataSet for Sgemm {
    fn about(&self) -> About {
        About {
            task: Task::Regression,
            training_shape: Some(TrainingShape { samples: 773_120, outputs: 1, image: None }),
            publication: Some(&PUBLICATION),
            table_format: TableFormat::default(),
            ..About::new(NAME)
        }
    }

    /// Each setting of the kernel was measured four times, and each measurement is a sample. In the
    /// training set and in the test set all first measurements come first, then all second ones, …
    fn read(&self, files: &Files, _: Report) -> Result<RawDataset> {
        let mut rows = Rows::of(&files.contents[0], TableFormat::default())?;
        let columns = rows.names.iter().take(14).map(Column::number).collect();
        let all = rows.numbers()?;
        let table = Split::new(all.narrow(1, 0, 14), all.narrow(1, 14, 4));
        let parts = table.train_test(0.2, 1)?.map(|part| {
            let times = part.targets.tr().contiguous().reshape([-1, 1]);
            Split::new(part.inputs.repeat([4, 1]), times)
        });
        let targets = Targets::numbers(["Run (ms)"]);
        Ok(RawDataset::rows(NAME, columns, targets, parts, self.standardize))
    }
}

static PUBLICATION: Publication = Publication {
    files: &[KnownFile {
        name: "sgemm_product.csv",
        bytes: 14_353_701,
        sha256: "b545b908c203eaa4d0b78c88e3a7196857efc34da3b6da9be774f017f2b5e960",
    }],
    places: &[Place::Archive {
        mirror: "https://archive.ics.uci.edu/ml/machine-learning-databases/00440/",
        name: "sgemm_product_dataset.zip",
        most_bytes: 20_000_000,
    }],
};
