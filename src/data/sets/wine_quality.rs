//! Wine Quality: 6,497 Portuguese wines, red and white (Cortez et al. 2009), prepared as in the
//! paper.

use std::sync::Arc;

use anyhow::Result;
use serde_yaml::Value;
use tch::{Device, Kind};

use crate::data::preparation::{Coding, Column, Targets};
use crate::data::prepare::{Table, dataset, one_hot};
use crate::data::set::mapping;
use crate::data::split::paper_split;
use crate::data::table::{Matrix, Rows};
use crate::data::{
    DataSet, Dataset, Files, KnownFile, Packing, Publication, Registration, TableFormat, Task,
    TrainingShape,
};
use crate::settings::domain::{choice, truth};
use crate::settings::section;

section! {
    /// Wine Quality.
    pub struct WineQuality {
        /// What the network is trained for.
        task: Task = Task::Regression, choice();
        /// Whether inputs and numeric targets are scaled to mean 0 and standard deviation 1.
        ///
        /// Both are those of the training set. With `false`, images are in [0, 1].
        standardize: bool = true, truth();
    }
}

pub(super) const KIND: Registration = Registration {
    name: "wine_quality",
    summary: "12 measurements of a wine, quality 0 to 10, 5,197 + 1,300",
    keys: WineQuality::keys,
    read: |reader| Ok(Arc::new(WineQuality::read_keys(reader)?)),
};

impl DataSet for WineQuality {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn task(&self) -> Task {
        self.task
    }

    fn settings(&self) -> Value {
        mapping(self)
    }

    /// The red wines, then the white ones: 11 measurements and the colour (red 0, white 1). The
    /// target is the quality: a number, or one of the classes 0 to 10.
    fn prepare(&self, files: &Files, device: Device) -> Result<Dataset> {
        let mut names = Vec::new();
        let (mut inputs, mut qualities) =
            (Matrix::new(12, Kind::Double), Matrix::new(1, Kind::Double));
        for (colour, name) in [(0.0, "winequality-red.csv"), (1.0, "winequality-white.csv")] {
            let mut rows = Rows::of(files.content(name), self.table_format())?;
            let quality = rows.column("quality")?;
            names = rows.names().iter().filter(|name| *name != "quality").cloned().collect();
            while rows.advance()? {
                for column in (0..rows.names().len()).filter(|column| *column != quality) {
                    inputs.push(rows.number(column)?);
                }
                inputs.push(colour);
                qualities.push(rows.number(quality)?);
            }
        }
        let targets = match self.task {
            Task::Classification => one_hot(&qualities.finish().flatten(0, -1), 11, Device::Cpu),
            Task::Regression => qualities.finish(),
        };
        let table = Table { inputs: inputs.finish(), targets };
        let (train, test) = paper_split(table.inputs.size()[0])?;
        let pair = (table.select(&train), table.select(&test));
        let colour = Column {
            coding: Coding::Ordinal(vec!["red".into(), "white".into()]),
            ..Column::number("color")
        };
        let columns = names.into_iter().map(Column::number).chain([colour]).collect();
        let targets = match self.task {
            Task::Classification => {
                Targets::Classes((0..11).map(|it: i32| it.to_string()).collect())
            }
            Task::Regression => {
                Targets::Numbers { names: vec!["quality".into()], scaling: Vec::new() }
            }
        };
        Ok(dataset(self.name(), columns, targets, pair, self.standardize, device))
    }

    fn not_standardized(&self) -> Arc<dyn DataSet> {
        Arc::new(WineQuality { standardize: false, ..*self })
    }

    fn training_shape(&self) -> Option<TrainingShape> {
        let outputs = match self.task {
            Task::Classification => 11,
            Task::Regression => 1,
        };
        Some(TrainingShape { samples: 5_197, outputs, image: None })
    }

    fn publication(&self) -> Option<&'static Publication> {
        Some(&PUBLICATION)
    }

    fn table_format(&self) -> TableFormat {
        TableFormat { delimiter: b';', ..TableFormat::default() }
    }
}

static PUBLICATION: Publication = Publication {
    files: &[
        KnownFile {
            name: "winequality-red.csv",
            bytes: 84_199,
            sha256: "4a402cf041b025d4566d954c3b9ba8635a3a8a01e039005d97d6a710278cf05e",
        },
        KnownFile {
            name: "winequality-white.csv",
            bytes: 264_426,
            sha256: "76c3f809815c17c07212622f776311faeb31e87610d52c26d87d6e361b169836",
        },
    ],
    packing: Packing::Plain,
    mirrors: &["https://archive.ics.uci.edu/ml/machine-learning-databases/wine-quality/"],
    npm_package: None,
    system_folder: None,
};
