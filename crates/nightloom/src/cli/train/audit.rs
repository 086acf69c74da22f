use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use nightloom_fe::authority::{Audit as Findings, DatasetAudit, Recoverable};

use super::super::console::{say, show};
use super::super::error::CliError;
use super::super::figures::{counted, significant};
use super::authority::LEDGER;
use super::error::TrainFailure;
use super::statement;

#[derive(Debug, Args)]
pub struct Audit {
    /// The ledger, or the authority's folder
    ledger: PathBuf,
    /// The probability for which privacy losses may be larger than stated
    #[arg(long, value_name = "DELTA", default_value_t = 1e-5, value_parser = delta)]
    delta: f64,
    /// Write it as JSON
    #[arg(long)]
    json: bool,
}

fn delta(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(delta) if delta > 0.0 && delta < 1.0 => Ok(delta),
        _ => Err("wanted a number between 0 and 1".to_owned()),
    }
}

impl Audit {
    pub fn run(self) -> Result<(), CliError> {
        let path = if self.ledger.is_dir() { self.ledger.join(LEDGER) } else { self.ledger };
        let audit = Findings::of_file(&path, self.delta).map_err(TrainFailure::Keeper)?;
        if self.json {
            let mut json = serde_json::to_value(&audit)?;
            json["statement"] = statement(audit.mode);
            return show(serde_json::to_string_pretty(&json)?);
        }
        show(format_args!(
            "task {}, mode {}, {}",
            audit.task,
            audit.mode,
            counted(audit.parties as u64, "party", "parties")
        ))?;
        show(format_args!(
            "ledger at {} (write it down: records that go missing later are noticed by it)",
            audit.head
        ))?;
        if audit.torn_bytes > 0 {
            let bytes = counted(audit.torn_bytes, "byte", "bytes");
            show(format_args!("{bytes} of a torn last record, on whose account nothing was issued"))?;
        }
        for dataset in &audit.datasets {
            self::dataset(dataset)?;
        }
        let mut seen = BTreeSet::new();
        let again = audit.datasets.iter().filter(|dataset| !seen.insert(&dataset.client));
        let again: BTreeSet<&str> = again.map(|dataset| &*dataset.client).collect();
        for client in again {
            show(format_args!(
                "note: '{client}' has several datasets; ranks and losses above are of each by itself, and of samples in several \
                 they add up"
            ))?;
        }
        if let Some(fewest) = audit.fewest_in_a_sum {
            let sums = counted(audit.sums as u64, "sum", "sums");
            show(format_args!("\n{sums} opened, over at least {}", counted(fewest as u64, "client", "clients")))?;
            match audit.sum_epsilon {
                Some(epsilon) => show(format_args!(
                    "privacy loss of a sample in these sums: epsilon {} at delta {}",
                    significant(epsilon),
                    audit.delta
                ))?,
                None => show("no noise: a sum tells what its contributions tell together")?,
            }
        }
        show(format_args!("\n{}", audit.mode.statement()))
    }
}

fn dataset(audit: &DatasetAudit) -> Result<(), CliError> {
    show(format_args!(
        "\nclient '{}', dataset {}: {} in {}, keys for {}",
        audit.client,
        audit.dataset,
        counted(audit.samples.into(), "sample", "samples"),
        counted(audit.batches.into(), "batch", "batches"),
        counted(audit.opened_batches.into(), "of them", "of them"),
    ))?;
    if let Some(worst) = &audit.worst {
        for (name, found) in [("products of the first layer", worst.forward), ("its gradient", worst.gradient)] {
            let sparsest =
                found.sparsest.map_or_else(String::new, |entries| format!(", sparsest combination {entries}"));
            show(format_args!(
                "  {name:<28} rank {} of at most {}, {} unknowns{sparsest}",
                found.rank,
                found.limit,
                significant(found.unknowns)
            ))?;
        }
    }
    if let Some(determined) = audit.determined {
        show(format_args!("  {:<28} {:.1} % of all unknowns, in the worst batch", "determined", 100.0 * determined))?;
    }
    let recoverable = match audit.recoverable {
        Recoverable::Nothing => "nothing: no keys",
        Recoverable::NoSample => "no sample by linear algebra; what else is known may narrow samples down",
        Recoverable::EverySample => "EVERY SAMPLE: there are as many equations as unknowns",
        Recoverable::Uncounted => "EVERY SAMPLE, presumably: this mode does not count",
    };
    show(format_args!("  {:<28} {recoverable}", "can be recovered"))?;
    if audit.operand_keys > 0 {
        show(format_args!("  {:<28} {}", "labels opened by FEBO", audit.operand_keys))?;
    }
    let loss = |epsilon: Option<f64>| epsilon.map_or_else(|| "none stated".to_owned(), significant);
    show(format_args!("  {:<28} {}", "epsilon of a sample", loss(audit.epsilon)))?;
    show(format_args!("  {:<28} {}", "epsilon of a label", loss(audit.label_epsilon)))?;
    say("")
}
