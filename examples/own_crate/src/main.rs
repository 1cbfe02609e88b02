//! A program of its own that trains with f3-tch as a library.

use f3_tch::config::{Config, Source};
use f3_tch::data::DataDirectory;
use f3_tch::run::Run;
use f3_tch::tch::Device;

fn main() -> anyhow::Result<()> {
    let mut source = Source::open("digits")?; // a configuration that the library carries
    source.set("epochs=3")?;
    let (config, _) = Config::read(&source)?;
    let data = config.data.set.load(&DataDirectory::locate(None), Device::Cpu, &mut |_| {})?;
    let mut run = Run::new(&config, data)?;
    run.train(&mut ())?;
    for row in &run.state.history {
        println!(
            "{}: test accuracy {:.1} %",
            row.epoch,
            row.value("test_accuracy").unwrap_or(f64::NAN)
        );
    }
    Ok(())
}
