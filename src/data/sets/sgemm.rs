//! SGEMM: run times of a GPU's matrix product in 241,600 settings (Nugteren & Codreanu 2015),
//! prepared as in the paper.

use std::sync::Arc;

use anyhow::Result;
use serde_yaml::Value;
use tch::{Device, Kind};

use crate::data::preparation::{Column, Targets};
use crate::data::prepare::{Table, dataset};
use crate::data::set::mapping;
use crate::data::split::paper_split;
use crate::data::table::{Matrix, Rows};
use crate::data::{
    Archive, ArchiveKind, DataSet, Dataset, Files, KnownFile, Packing, Publication, Registration,
    TableFormat, Task, TrainingShape,
};
use crate::settings::domain::truth;
use crate::settings::section;

section! {
    /// SGEMM.
    pub struct Sgemm {
        /// Whether inputs and numeric targets are scaled to mean 0 and standard deviation 1.
        ///
        /// Both are those of the training set. With `false`, images are in [0, 1].
        standardize: bool = true, truth();
    }
}

pub(super) const KIND: Registration = Registration {
    name: "sgemm",
    summary: "14 settings of a GPU kernel, run time, 773,120 + 193,280",
    keys: Sgemm::keys,
    read: |reader| Ok(Arc::new(Sgemm::read_keys(reader)?)),
};

impl DataSet for Sgemm {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn task(&self) -> Task {
        Task::Regression
    }

    fn settings(&self) -> Value {
        mapping(self)
    }

    /// Each setting of the kernel was measured four times, and each measurement is a sample. In the
    /// training set and in the test set all first measurements come first, then all second ones, …
    fn prepare(&self, files: &Files, device: Device) -> Result<Dataset> {
        let mut rows = Rows::of(files.content("sgemm_product.csv"), self.table_format())?;
        let columns = rows.names().iter().take(14).map(Column::number).collect();
        let (mut inputs, mut times) = (Matrix::new(14, Kind::Double), Matrix::new(4, Kind::Double));
        while rows.advance()? {
            for column in 0..14 {
                inputs.push(rows.number(column)?);
            }
            for column in 14..18 {
                times.push(rows.number(column)?);
            }
        }
        let table = Table { inputs: inputs.finish(), targets: times.finish() };
        let (train, test) = paper_split(table.inputs.size()[0])?;
        let stacked = |rows: &[i64]| {
            let cut = table.select(rows);
            Table {
                inputs: cut.inputs.repeat([4, 1]),
                targets: cut.targets.tr().contiguous().reshape([-1, 1]),
            }
        };
        let pair = (stacked(&train), stacked(&test));
        let targets = Targets::Numbers { names: vec!["Run (ms)".into()], scaling: Vec::new() };
        Ok(dataset(self.name(), columns, targets, pair, self.standardize, device))
    }

    fn not_standardized(&self) -> Arc<dyn DataSet> {
        Arc::new(Sgemm { standardize: false })
    }

    fn training_shape(&self) -> Option<TrainingShape> {
        Some(TrainingShape { samples: 773_120, outputs: 1, image: None })
    }

    fn publication(&self) -> Option<&'static Publication> {
        Some(&PUBLICATION)
    }

    fn table_format(&self) -> TableFormat {
        TableFormat::default()
    }
}

static PUBLICATION: Publication = Publication {
    files: &[KnownFile {
        name: "sgemm_product.csv",
        bytes: 14_353_701,
        sha256: "b545b908c203eaa4d0b78c88e3a7196857efc34da3b6da9be774f017f2b5e960",
    }],
    packing: Packing::Archive(Archive {
        name: "sgemm_product_dataset.zip",
        kind: ArchiveKind::Zip,
        most_bytes: 20_000_000,
    }),
    mirrors: &["https://archive.ics.uci.edu/ml/machine-learning-databases/00440/"],
    npm_package: None,
    system_folder: None,
};
