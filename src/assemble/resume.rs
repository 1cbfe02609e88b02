//! A run that continues where it was cut off: the folder's configuration, its newest checkpoint, and what
//! may have changed since.

use anyhow::{Context, Result, bail};
use serde_yaml::Value;

use super::{DataFrom, assemble};
use crate::config::{Config, Source};
use crate::learning_rate::Decay;
use crate::run::{Checkpoint, Checkpoints, ConfigText, Event, Folder, Observer, Run};
use crate::settings::parse_yaml;

impl Run {
    /// The run of a folder, as it was when it was cut off; from the beginning if it had no checkpoint
    /// yet. [`Run::train_in`] continues it, until `epochs` are done, or as many as it was to have.
    ///
    /// A resumed run must keep its seed, model, loss, algorithm and precision; of other changes in its
    /// `config.yaml` the observer is told.
    ///
    /// # Errors
    /// If the configuration or the data are not the run's any more, or its checkpoint is missing or
    /// damaged.
    pub fn resume(
        folder: &Folder,
        epochs: Option<u64>,
        data: DataFrom,
        observer: &mut dyn Observer,
    ) -> Result<Run> {
        let shown = folder.path().display();
        let place = Folder::config_of(folder.path())?;
        let place = place.to_str().with_context(|| format!("{shown}: is not a name in UTF-8"))?;
        let mut source = Source::open(place)?;
        if let Some(epochs) = epochs {
            source.set_option("epochs", Value::from(epochs), &format!("--epochs {epochs}"))?;
        }
        let (config, _) = Config::read(&source)?;
        let note = &mut |text: &str| observer.notice(&Event::Note(text));
        let schedule = &config.optimizer.schedule;
        if let Decay::Cosine { t_max, .. } = schedule.decay
            && schedule.warmup_epochs + t_max < config.epochs
        {
            note(&format!(
                "`optimizer.schedule.t_max` stays {t_max}, as config.yaml has it; the learning rate \
                 rises again after that many epochs"
            ))?;
        }
        let checkpoints = Checkpoints::new(&folder.checkpoints(), config.checkpoint.clone());
        let found = checkpoints.newest_whole(note)?;
        let Some(checkpoint) = found else {
            if config.checkpoint.every.is_none() {
                bail!(
                    "{shown}: has no checkpoints, as `checkpoint.every` is null in its config.yaml"
                );
            }
            if folder.has_results() {
                bail!(
                    "{shown}: has results of some epochs, but no checkpoint to go on from; \
                     `f3-tch train {shown}/config.yaml` begins a new run"
                );
            }
            return Ok(assemble(&config, &source, data)?.0);
        };
        check(&config, &source, &checkpoint, note)?;

        // What the run had started from is in the checkpoint.
        let made_from = Config { init_from: None, ..config.clone() };
        let (mut run, _) = assemble(&made_from, &source, data)?;
        run.config = Some(ConfigText::of(&config));
        let epoch = checkpoint.epoch();
        checkpoint.check_data(&run.data)?;
        if let Some((then, now)) = checkpoint.other_machine(&run) {
            note(&format!(
                "up to epoch {epoch} the run was computed by {then}, from now on by {now}: results may \
                 differ in their last digits from those of a run that was not cut off"
            ))?;
        }
        checkpoint.restore(&mut run)?;
        checkpoints.go_on(&run)?;
        Ok(run)
    }
}

type Note<'a> = &'a mut dyn FnMut(&str) -> Result<()>;

/// Refuses a configuration that is not the run's any more, and tells what else has changed.
fn check(config: &Config, source: &Source, checkpoint: &Checkpoint, note: Note) -> Result<()> {
    let epoch = checkpoint.epoch();
    if config.epochs < epoch {
        let expected = format!("at least {epoch}, which is how many epochs are done");
        return Err(source.refuse("epochs", config.epochs, &expected).into());
    }
    let Some(Ok(then)) = checkpoint.config().map(parse_yaml) else {
        return Ok(());
    };
    let now = parse_yaml(&config.to_yaml())?;
    let shown = |value: &Value| serde_json::to_string(value).unwrap_or_default();
    for key in ["seed", "model", "loss", "algorithm", "precision"] {
        if now[key] != then[key] {
            let expected = format!("{}, with which the run began", shown(&then[key]));
            return Err(source.refuse(key, shown(&now[key]), &expected).into());
        }
    }
    for (key, now) in now.as_mapping().into_iter().flatten() {
        // What the run's program did not know is not a change of the person's.
        if let Some(then) = then.get(key).filter(|then| *then != now && key != "epochs") {
            let (key, now, then) = (key.as_str().unwrap_or_default(), shown(now), shown(then));
            note(&format!("`{key}` is {now} from now on; it was {then}"))?;
        }
    }
    Ok(())
}
