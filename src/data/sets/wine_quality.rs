//! Wine Quality: 6,497 Portuguese wines, red and white (Cortez et al. 2009), prepared as in the
//! paper.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::data::table::Rows;
use crate::data::{
    About, Coding, Column, DataSet, Files, KnownFile, Place, Publication, RawDataset, Report,
    Split, TableFormat, Targets, Task, TrainingShape,
};
use crate::settings::domain::choice;

standardized! {
    /// Wine Quality.
    pub struct WineQuality {
        /// What the network is trained for.
        task: Task = Task::Regression, choice();
    }
}

const NAME: &str = "wine_quality";

impl DataSet for WineQuality {
    fn about(&self) -> About {
        let outputs = if self.task == Task::Classification { 11 } else { 1 };
        About {
            task: self.task,
            training_shape: Some(TrainingShape { samples: 5_197, outputs, image: None }),
            publication: Some(&PUBLICATION),
            table_format: TableFormat { delimiter: b';', ..TableFormat::default() },
            ..About::new(NAME)
        }
    }

    /// The red wines, then the white ones: 11 measurements and the colour (red 0, white 1). The
    /// target is the quality: a number, or one of the classes 0 to 10.
    fn read(&self, files: &Files, _: Report) -> Result<RawDataset> {
        let (mut columns, mut wines) = (Vec::new(), Vec::new());
        for (colour, file) in (0..).zip(&files.contents) {
            let mut rows = Rows::of(file, self.about().table_format)?;
            columns = rows.names.iter().take(11).map(Column::number).collect();
            let all = rows.numbers()?;
            let colours = Tensor::full([all.size()[0], 1], colour, (Kind::Double, Device::Cpu));
            wines.push(Tensor::cat(&[all.narrow(1, 0, 11), colours, all.narrow(1, 11, 1)], 1));
        }
        let colours = Coding::Ordinal(vec!["red".into(), "white".into()]);
        columns.push(Column { coding: colours, ..Column::number("color") });
        let wines = Tensor::cat(&wines, 0);
        let targets = match self.task {
            Task::Classification => Targets::classes(0..11),
            Task::Regression => Targets::numbers(["quality"]),
        };
        let parts =
            Split::new(wines.narrow(1, 0, 12), wines.narrow(1, 12, 1)).train_test(0.2, 1)?;
        Ok(RawDataset::rows(NAME, columns, targets, parts, self.standardize))
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
    places: &[Place::Mirror(
        "https://archive.ics.uci.edu/ml/machine-learning-databases/wine-quality/",
    )],
};
