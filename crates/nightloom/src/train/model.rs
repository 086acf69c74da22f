//! Trained models as files: who can predict with them needs nothing else.

use std::io::{Read, Write};

use nightloom_fe::agreement::{
    Agreement, AgreementError, AgreementSpec, ContributionForm, DataForm, Encoding, TargetForm, TrainedCounts,
};
use nightloom_fe::learn::network::SpecError;
use nightloom_fe::learn::{Network, NetworkSpec, onnx};
use nightloom_wire::{DecodeError, Header, Kind, Writer};
use serde::{Deserialize, Serialize};

use super::data::{DataFileError, RawData};

/// Newest version of both formats.
const VERSION: u16 = 1;
/// Longest file in bytes of JSON: a network may have 2^26 parameters in theory; what is trained here is far smaller.
const MAX_BYTES: u64 = 1 << 30;

/// A trained model, with what was agreed on about its samples.
#[derive(Debug)]
pub struct Model {
    agreement: Agreement,
    learned: Learned,
}

#[derive(Debug)]
enum Learned {
    Network { network: Network, round: Option<u32> },
    Counts { counts: Vec<i64>, model: TrainedCounts },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkFile {
    agreement: AgreementSpec,
    network: NetworkSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    round: Option<u32>,
    parameters: Vec<f64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CountsFile {
    agreement: AgreementSpec,
    counts: Vec<i64>,
}

/// Why there is no such model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The bytes are not what they should be.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The agreement is for something else.
    #[error(transparent)]
    Agreement(#[from] AgreementError),
    /// The network cannot be built.
    #[error(transparent)]
    Network(#[from] SpecError),
    /// Something that only networks have.
    #[error("a model from counts is no network, wanted a trained network")]
    NotANetwork,
}

impl Model {
    /// A network that was trained under an agreement, after `round` rounds if it was trained in rounds.
    ///
    /// # Errors
    /// [`ModelError::Agreement`] if the agreement has other samples or targets.
    pub fn network(agreement: &Agreement, network: Network, round: Option<u32>) -> Result<Self, ModelError> {
        let agreement = agreement.spec().clone().validate()?;
        let architecture = network.architecture();
        let (found, wanted) = (architecture.input(), agreement.data().trained_input());
        if found.len() != wanted.len() {
            return Err(AgreementError::NetworkInput { found, wanted }.into());
        }
        let (found, wanted) = (architecture.outputs(), agreement.data().targets.width());
        if found != wanted {
            return Err(AgreementError::Targets { found, wanted }.into());
        }
        Ok(Self { agreement, learned: Learned::Network { network, round } })
    }

    /// A model of these counts, which were agreed on.
    ///
    /// # Errors
    /// [`ModelError::Agreement`] if there are not as many, or the agreement counts nothing.
    pub fn counts(agreement: &Agreement, counts: Vec<i64>) -> Result<Self, ModelError> {
        let agreement = agreement.spec().clone().validate()?;
        let ContributionForm::Counts(form) = &agreement.aggregation()?.contribution else {
            return Err(AgreementError::Kind { wanted: "updates of a network, not counts" }.into());
        };
        let model = form.form(agreement.data())?.train(&counts, form.smoothing)?;
        Ok(Self { agreement, learned: Learned::Counts { counts, model } })
    }

    /// What was agreed on.
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// The network, if it is one.
    ///
    /// # Errors
    /// [`ModelError::NotANetwork`].
    pub fn as_network(&self) -> Result<&Network, ModelError> {
        match &self.learned {
            Learned::Network { network, .. } => Ok(network),
            Learned::Counts { .. } => Err(ModelError::NotANetwork),
        }
    }

    /// Rounds of federated training behind it.
    pub fn round(&self) -> Option<u32> {
        match self.learned {
            Learned::Network { round, .. } => round,
            Learned::Counts { .. } => None,
        }
    }

    /// The network as an ONNX file. What comes before the network is not in it: see [`takes`](Self::takes).
    ///
    /// # Errors
    /// [`ModelError::NotANetwork`].
    pub fn onnx(&self) -> Result<Vec<u8>, ModelError> {
        Ok(onnx::export(self.as_network()?))
    }

    /// What an exported network takes in place of samples as they are; `None` if it takes these, pixels over 255.
    pub fn takes(&self) -> Option<String> {
        match &self.agreement.data().encoding {
            Encoding::Pixels => None,
            Encoding::Columns(_) => Some(
                "standardised columns, (value - mean) / deviation with the agreement's means and deviations, cut at its limit"
                    .to_owned(),
            ),
            Encoding::Features(layer) => Some(format!(
                "the features that the agreement's public layer makes of an image, {} of them, cut at {}",
                self.agreement.data().trained_input().len(),
                layer.limit,
            )),
            Encoding::Bins(_) => Some("bins of columns".to_owned()),
        }
    }

    /// Names of the classes; `None` for numbers.
    pub fn classes(&self) -> Option<&[String]> {
        match &self.agreement.data().targets {
            TargetForm::Classes(names) => Some(names),
            TargetForm::Numbers { .. } => None,
        }
    }

    /// A row of outputs for each sample: logits, numbers, or scores of the classes.
    ///
    /// # Errors
    /// [`DataFileError`] if the samples are not those of the agreement.
    pub fn outputs(&self, samples: &RawData) -> Result<Vec<Vec<f64>>, DataFileError> {
        let data: &DataForm = self.agreement.data();
        match (&self.learned, &data.encoding) {
            (Learned::Network { network, .. }, _) => {
                let inputs = samples.inputs(data)?;
                let indices: Vec<usize> = (0..inputs.len()).collect();
                let chunk = |indices: &[usize]| network.outputs(inputs.real(indices).view());
                let outputs = indices.chunks(1024).map(chunk);
                Ok(outputs
                    .flat_map(|part| part.rows().into_iter().map(|row| row.to_vec()).collect::<Vec<_>>())
                    .collect())
            }
            (Learned::Counts { model, .. }, Encoding::Bins(bins)) => {
                Ok((0..samples.len()).map(|index| model.scores(&bins.of(&samples.row(index)))).collect())
            }
            // `counts` has checked that there are bins.
            (Learned::Counts { .. }, _) => Ok(Vec::new()),
        }
    }

    /// Writes the model.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn write(&self, sink: impl Write) -> std::io::Result<()> {
        let agreement = self.agreement.spec().clone();
        let (kind, json) = match &self.learned {
            Learned::Network { network, round } => {
                let (spec, parameters) = (network.architecture().spec().clone(), network.values().copied().collect());
                let file = NetworkFile { agreement, network: spec, round: *round, parameters };
                (Kind::TrainedNetwork, serde_json::to_vec(&file)?)
            }
            Learned::Counts { counts, .. } => {
                (Kind::TrainedCounts, serde_json::to_vec(&CountsFile { agreement, counts: counts.clone() })?)
            }
        };
        let mut writer = Writer::new(sink);
        Header { kind, version: VERSION, length: json.len() as u64 }.write(&mut writer)?;
        writer.bytes(&json)
    }

    /// Reads a model, a network or one from counts.
    ///
    /// # Errors
    /// [`ModelError`] for every way in which the bytes can be wrong.
    pub fn read(mut source: impl Read) -> Result<Self, ModelError> {
        let header = Header::read(&mut source)?;
        let kind = if header.kind == Kind::TrainedCounts { Kind::TrainedCounts } else { Kind::TrainedNetwork };
        let mut start = Writer::new(Vec::new());
        header.write(&mut start).map_err(DecodeError::Io)?;
        let source = std::io::Cursor::new(start.into_inner()).chain(source);
        let (_, mut reader) = Header::open(source, kind, VERSION, MAX_BYTES)?;
        let mut json = Vec::new();
        while reader.left() > 0 {
            let at = json.len();
            json.resize(at + (1 << 16).min(reader.left() as usize), 0);
            reader.fill(&mut json[at..])?;
        }
        reader.finish()?;
        let text = |problem: serde_json::Error| DecodeError::Text { what: "model", problem: problem.to_string() };
        if kind == Kind::TrainedCounts {
            let CountsFile { agreement, counts } = serde_json::from_slice(&json).map_err(text)?;
            return Self::counts(&agreement.validate()?, counts);
        }
        let NetworkFile { agreement, network, round, parameters } = serde_json::from_slice(&json).map_err(text)?;
        let network = Network::from_values(&network.validate()?, &parameters)?;
        Self::network(&agreement.validate()?, network, round)
    }
}

#[cfg(test)]
mod tests {
    use nightloom_fe::Scheme;
    use nightloom_fe::agreement::{Aggregation, CountModel, Counts, PublicLayer, Terms};
    use nightloom_fe::learn::Shape;
    use nightloom_fe::learn::counts::Bins;

    use super::*;
    use crate::train::demo::agreement;
    use crate::train::setup::{Activation, NetworkName};

    /// A network of two units on two by two images, with parameters that are easy to recognise.
    fn network() -> Model {
        let mut spec = agreement(Scheme::Pad);
        spec.data.input = Shape { channels: 1, height: 2, width: 2 };
        spec.data.targets = TargetForm::Classes(vec!["no".to_owned(), "yes".to_owned()]);
        let architecture =
            NetworkName::Dense(vec![4, 2, 2]).spec(spec.data.input, Activation::Square).validate().unwrap();
        let values: Vec<f64> = (0..architecture.parameters()).map(|at| at as f64 / 8.0 - 0.5).collect();
        let network = Network::from_values(&architecture, &values).unwrap();
        Model::network(&spec.validate().unwrap(), network, Some(3)).unwrap()
    }

    fn counts() -> Model {
        let data = DataForm {
            input: Shape::vector(2),
            encoding: Encoding::Bins(Bins::new(vec![vec![0.5], vec![1.0, 2.0]]).unwrap()),
            norm_bound: None,
            targets: TargetForm::Classes(vec!["no".to_owned(), "yes".to_owned()]),
        };
        let counts = Counts { model: CountModel::NaiveBayes, smoothing: 1.0, noise: Some(1.5) };
        let contribution = ContributionForm::Counts(counts);
        let terms = Terms::Aggregate(Aggregation { max_clients: 5, contribution, without_privacy: false });
        let agreement = AgreementSpec { task: "small".to_owned(), data, terms }.validate().unwrap();
        Model::counts(&agreement, (0..12).map(|count| count - 1).collect()).unwrap()
    }

    fn bytes(model: &Model) -> Vec<u8> {
        let mut bytes = Vec::new();
        model.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_golden_bytes_stay_readable() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/wire/v1/trained_model");
        for (name, model) in [("network", network()), ("naive_bayes", counts())] {
            let path = format!("{folder}/{name}.bin");
            if std::env::var_os("NIGHTLOOM_WRITE_GOLDEN").is_some_and(|value| value == "1") {
                std::fs::create_dir_all(folder).unwrap();
                std::fs::write(&path, bytes(&model)).unwrap();
            }
            let golden = std::fs::read(&path).unwrap();
            let found = Model::read(&*golden).unwrap();
            assert!(bytes(&found) == golden && bytes(&model) == golden, "{name}");
        }
        assert_eq!((network().round(), counts().round()), (Some(3), None));
        assert!(matches!(counts().onnx(), Err(ModelError::NotANetwork)));
    }

    #[test]
    fn an_exported_network_takes_what_was_encrypted() {
        let trained = network();
        assert_eq!(trained.takes(), None);
        let mut spec = trained.agreement().spec().clone();
        let public = NetworkName::Dense(vec![4, 5, 3]).spec(spec.data.input, Activation::Relu).validate().unwrap();
        let public = Network::from_values(&public, &vec![0.5; public.parameters()]).unwrap();
        spec.data.encoding = Encoding::Features(PublicLayer::new(&public, 2.0, 8).unwrap());
        let architecture = NetworkName::Dense(vec![3, 2]).spec(Shape::vector(3), Activation::Relu).validate().unwrap();
        let values = vec![0.25; architecture.parameters()];
        let network = Network::from_values(&architecture, &values).unwrap();
        let told = Model::network(&spec.validate().unwrap(), network, None).unwrap().takes().unwrap();
        assert!(told.contains("public layer") && told.contains("3 of them, cut at 2"), "{told}");
    }

    #[test]
    fn damaged_models_are_refused() {
        for model in [network(), counts()] {
            let whole = bytes(&model);
            for length in [0, 7, 16, whole.len() / 2, whole.len() - 1] {
                assert!(Model::read(&whole[..length]).is_err(), "{length}");
            }
            let text = String::from_utf8(whole[16..].to_vec()).unwrap();
            for (old, new) in [
                ("\"parameters\":[", "\"parameters\":[1.0,"),
                ("\"counts\":[", "\"counts\":[1,"),
                ("\"units\":2", "\"units\":3"),
                ("\"height\":2", "\"height\":0"),
                ("\"task\":", "\"more\":1,\"task\":"),
                ("\"no\",", ""),
            ] {
                let changed = text.replace(old, new);
                if changed == text {
                    continue;
                }
                let mut damaged = whole[..8].to_vec();
                damaged.extend((changed.len() as u64).to_le_bytes());
                damaged.extend(changed.bytes());
                assert!(Model::read(&*damaged).is_err(), "{old}");
            }
        }
    }

    #[test]
    fn counts_predict_as_the_library_does() {
        let (model, rows) = (counts(), [[0.0, 0.0], [1.0, 3.0]]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        let line = |row: &[f64; 2]| format!("{},{}\n", row[0], row[1]);
        std::fs::write(&path, rows.iter().map(line).collect::<String>()).unwrap();
        let raw = crate::train::data::read_samples(&path, None, model.agreement().data()).unwrap();
        let found = model.outputs(&raw).unwrap();
        let ContributionForm::Counts(form) = &model.agreement().aggregation().unwrap().contribution else { panic!() };
        let wanted = form.form(model.agreement().data()).unwrap();
        let wanted = wanted.train(&(0..12).map(|count| count - 1).collect::<Vec<i64>>(), 1.0).unwrap();
        assert_eq!(found, [wanted.scores(&[0, 0]), wanted.scores(&[1, 2])]);
        assert_eq!((crate::output::largest(&[1.0, 3.0, 3.0]), crate::output::largest(&[])), (1, 0));
    }
}
