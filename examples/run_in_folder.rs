//! A run in a folder of its own, and the same run continued for longer.
//!
//! Run it with `cargo run --release --example run_in_folder`.
use f3_tch::assemble::DataFrom;
use f3_tch::config::{Config, Source};
use f3_tch::data::DataDirectory;
use f3_tch::run::{Folder, Run, RunResult, on_epoch};

fn main() -> anyhow::Result<()> {
    let mut source = Source::open("digits")?; // a configuration that the library carries
    source.set("epochs=5")?;
    let (config, _) = Config::read(&source)?;
    let data = config.data.set.load(&DataDirectory::locate(None), tch::Device::Cpu, &mut |_| {})?;
    let folder = Folder::numbered("runs/example")?;
    let mut run = Run::new(&config, data)?;
    let mut show = on_epoch(|row| println!("{}: {:?}", row.epoch, row.value("test_loss")));
    run.train_in(&folder, &mut show)?;

    let mut run = Run::resume(&folder, Some(10), DataFrom::Memory(run.data), &mut ())?;
    run.train_in(&folder, &mut ())?;
    println!("{:?}", RunResult::read(folder.path())?.metrics["test_accuracy"]);
    Ok(())
}
