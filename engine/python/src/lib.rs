//! The engine in memory, for tests, `culvert pcap` and benchmarks: one gateway, as `culvert.ipsec.gateway.Gateway` is one.
//!
//! Changes come as the JSON of `culvert.dataplane.userspace.wire`; verdicts go as tuples whose first word says what
//! follows. An SA is named by its SPI, a policy by its label.

use std::sync::Arc;

use culvert_engine::control::{self, Change, Message};
use culvert_engine::crypto::{self, Job, Keyed, Random, engine_called};
use culvert_engine::reason::{REASONS, Reason};
use culvert_engine::tables::sa::{Policy, Secret};
use culvert_engine::tables::sadb::{Id, Record};
use culvert_engine::tables::slots::{HeapWords, SLOT_WORDS, Slot};
use culvert_engine::transform::batch_in::{Admissions, Arrived, In};
use culvert_engine::transform::batch_out::{Framing, Out, OutBatch, Plans};
use culvert_engine::transform::gateway::{Gateway, Heard};
use culvert_engine::transform::verdict::Verdict;
use culvert_engine::wire::address::Address;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

/// Chance from Python, so that a test can be the dice.
struct Dice(Py<PyAny>);

impl Random for Dice {
    fn fill(&mut self, octets: &mut [u8]) {
        Python::attach(|py| {
            let drawn = self.0.call1(py, (octets.len(),)).expect("the random source raised");
            octets.copy_from_slice(drawn.extract::<&[u8]>(py).expect("the random source gives octets"));
        });
    }
}

fn refused(sentence: impl ToString) -> PyErr {
    PyValueError::new_err(sentence.to_string())
}

/// One gateway.
#[pyclass(unsendable)]
struct NativeGateway {
    gateway: Gateway,
    plans: Plans,
    admissions: Admissions,
    batch: OutBatch,
}

type Tuple<'py> = PyResult<Bound<'py, PyTuple>>;

#[pymethods]
impl NativeGateway {
    #[new]
    fn new(engine: &str, random: Py<PyAny>) -> PyResult<NativeGateway> {
        Ok(NativeGateway {
            gateway: Gateway::new(engine_called(engine).map_err(refused)?, Box::new(Dice(random))),
            plans: Plans::new(),
            admissions: Admissions::new(),
            batch: OutBatch::default(),
        })
    }

    /// What runs the algorithms.
    fn engine(&self) -> String {
        self.gateway.engine_name()
    }

    /// Make the changes of one line; those in front of one that is refused stay made. `sequence`: where new SAs begin.
    fn apply(&mut self, line: &[u8], sequence: u64, now: f64) -> PyResult<()> {
        let Message::Apply(changes, _) = control::parse(line).map_err(refused)? else {
            return Err(refused("not changes"));
        };
        changes.into_iter().try_for_each(|(change, _)| self.step(change, sequence, now))
    }

    /// One clear packet.
    fn outbound<'py>(&mut self, py: Python<'py>, packet: &[u8], now: f64) -> Tuple<'py> {
        let verdict = self.gateway.outbound(packet, now);
        self.told(py, verdict)
    }

    /// One protected packet.
    fn inbound<'py>(&mut self, py: Python<'py>, packet: &[u8], now: f64) -> Tuple<'py> {
        let verdict = self.gateway.inbound(packet, now);
        self.told(py, verdict)
    }

    /// Clear packets, the batch's way.
    fn outbound_batch<'py>(
        &mut self,
        py: Python<'py>,
        packets: Vec<Vec<u8>>,
        now: f64,
    ) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        for packet in &packets {
            let run = packet.as_slice();
            self.gateway.protect_run(&run, &mut self.plans, |_| Framing::Whole, &mut batch, now);
        }
        self.gateway.seal_batch(&mut batch);
        let out = std::mem::take(&mut batch.out);
        let told = out.into_iter().map(|out| match out {
            Out::Framed(framed) => {
                let packet = PyBytes::new(py, &batch.octets[framed.range.clone()]);
                let spi = self.gateway.sadb.outbound_ref(framed.record).service.sa.spi;
                ("send", vec![packet], spi, None::<u32>, None::<String>).into_pyobject(py)
            }
            Out::Other(verdict, _) => self.told(py, verdict),
        });
        let told = told.collect();
        self.batch = batch;
        told
    }

    /// Protected packets, the batch's way.
    fn inbound_batch<'py>(
        &mut self,
        py: Python<'py>,
        packets: Vec<Vec<u8>>,
        now: f64,
    ) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let mut octets = Vec::new();
        let mut arrived = Vec::new();
        for packet in packets {
            arrived.push(Arrived { range: octets.len()..octets.len() + packet.len(), headers: None });
            octets.extend(packet);
        }
        let verdicts = self.gateway.open_batch(&mut octets, &arrived, &mut self.admissions, now);
        let told = verdicts.into_iter().map(|verdict| match verdict {
            In::Deliver { range, record, policy } => {
                let spi = self.gateway.sadb.inbound_ref(record).service.sa.spi;
                let packet = PyBytes::new(py, &octets[range]);
                ("deliver", packet, spi, None::<u32>, policy.label.clone()).into_pyobject(py)
            }
            In::Other(other) => self.told(py, other.0),
        });
        told.collect()
    }

    /// An ICMP message from the way out: `("learned", spi, mtu)`, a drop, or `("bypass",)`.
    fn told_too_big<'py>(&mut self, py: Python<'py>, packet: &[u8], now: f64) -> Tuple<'py> {
        match self.gateway.told_too_big(packet, now) {
            Heard::Learned(id, mtu) => ("learned", self.spi_out(id), mtu).into_pyobject(py),
            Heard::Dropped(verdict) => self.told(py, verdict),
            Heard::Nothing => ("bypass",).into_pyobject(py),
        }
    }

    /// What the gateway sends by itself.
    fn due<'py>(&mut self, py: Python<'py>, now: f64) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let verdicts = self.gateway.due(now);
        verdicts.into_iter().map(|verdict| self.told(py, verdict)).collect()
    }

    /// One piece of each packet whose others didn't come in time.
    fn expire<'py>(&mut self, py: Python<'py>, now: f64) -> Vec<Bound<'py, PyBytes>> {
        self.gateway.expire(now).iter().map(|packet| PyBytes::new(py, packet)).collect()
    }

    /// Of an SA: sequence, packets, octets, last use, life packets, life octets, lost, newest numbers, drops by reason.
    #[allow(clippy::type_complexity, reason = "a tuple is what Python takes")]
    fn usage(
        &self,
        way: &str,
        spi: u32,
        destination: &str,
        protocol: u8,
    ) -> PyResult<(u64, u64, u64, f64, u64, u64, u64, u64, Vec<u64>)> {
        let destination: Address = destination.parse::<std::net::IpAddr>().map_err(refused)?.into();
        let nothing = || refused("no such SA");
        let slot = if way == "in" {
            let id = self.gateway.sadb.find_in(spi, destination, protocol).ok_or_else(nothing)?;
            &self.gateway.sadb.inbound_ref(id).service.slot
        } else {
            let id = self.gateway.sadb.find_out(spi, destination, protocol).ok_or_else(nothing)?;
            &self.gateway.sadb.outbound_ref(id).service.slot
        };
        let drops = REASONS.iter().map(|reason| slot.drops(*reason)).collect();
        let life = (slot.life_packets(), slot.life_octets());
        let numbers = (slot.sequence(), slot.packets(), slot.octets(), slot.last_use());
        let (window, lost) = (slot.window(), slot.lost());
        Ok((numbers.0, numbers.1, numbers.2, numbers.3, life.0, life.1, lost, window, drops))
    }
}

impl NativeGateway {
    fn step(&mut self, change: Change, sequence: u64, now: f64) -> PyResult<()> {
        match change {
            Change::AddSa(sa) => {
                let slot = Slot::new(Arc::new(HeapWords::new(SLOT_WORDS)), 0);
                slot.set_sequence(sequence);
                slot.set_created(now);
                self.gateway.add_sa(*sa, slot, now).map(|_| ()).map_err(refused)
            }
            Change::RemoveSa(sa) => self.gateway.remove_sa(&sa).map(|_| ()).map_err(refused),
            Change::AddPolicy(policy) => self.gateway.add_policy(policy).map_err(refused),
            Change::RemovePolicy(policy) => self.gateway.remove_policy(&policy).map_err(refused),
        }
    }

    fn spi_out(&self, id: Id) -> u32 {
        self.gateway.sadb.outbound_ref(id).service.sa.spi
    }

    fn spi_in(&self, id: Id) -> u32 {
        self.gateway.sadb.inbound_ref(id).service.sa.spi
    }

    fn told<'py>(&self, py: Python<'py>, verdict: Verdict) -> Tuple<'py> {
        match verdict {
            Verdict::Bypass => ("bypass",).into_pyobject(py),
            Verdict::Hold => ("hold",).into_pyobject(py),
            Verdict::Send(sent) => {
                let packets: Vec<_> = sent.packets.iter().map(|packet| PyBytes::new(py, packet)).collect();
                let bundled = sent.bundled.map(|id| self.spi_out(id));
                ("send", packets, self.spi_out(sent.record), bundled, label(sent.policy.as_ref())).into_pyobject(py)
            }
            Verdict::Deliver(delivered) => {
                let packet = PyBytes::new(py, &delivered.packet);
                let bundled = delivered.bundled.map(|id| self.spi_in(id));
                let policy = delivered.policy.label.clone();
                ("deliver", packet, self.spi_in(delivered.record), bundled, policy).into_pyobject(py)
            }
            Verdict::Drop(dropped) => {
                let spi = dropped.record.map(|record| match record {
                    Record::In(id) => self.spi_in(id),
                    Record::Out(id) => self.spi_out(id),
                });
                let answer = dropped.answer.map(|answer| PyBytes::new(py, &answer));
                ("drop", dropped.reason as u8, spi, label(dropped.policy.as_ref()), answer).into_pyobject(py)
            }
        }
    }
}

fn label(policy: Option<&Arc<Policy>>) -> Option<String> {
    policy.map(|policy| policy.label.clone())
}

/// What an ESP packet (from the SPI to the ICV) hides, with its padding; None where it is not authentic.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "one packet's worth of facts")]
fn open_esp<'py>(
    py: Python<'py>,
    engine: &str,
    cipher: &str,
    key: Vec<u8>,
    auth: &str,
    auth_key: Vec<u8>,
    esn: bool,
    number: u64,
    mut esp: Vec<u8>,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let mut engine = engine_called(engine).map_err(refused)?;
    let (key, auth_key) = (Secret::new(key), Secret::new(auth_key));
    let keyed = Keyed::esp(cipher, &key, auth, &auth_key, esn).map_err(|unfit| refused(format!("{unfit:?}")))?;
    let mut jobs = [Job { key: &keyed, esp: &mut esp, number, right: false }];
    engine.open(&mut jobs);
    let text = 8 + keyed.layout.iv..jobs[0].esp.len().saturating_sub(keyed.layout.icv);
    Ok(jobs[0].right.then(|| PyBytes::new(py, &jobs[0].esp[text])))
}

/// The ICV that AH would carry over these octets; of GMAC the number is its IV.
#[pyfunction]
fn sign<'py>(
    py: Python<'py>,
    engine: &str,
    auth: &str,
    key: Vec<u8>,
    number: u64,
    covered: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let mut engine = engine_called(engine).map_err(refused)?;
    let keyed = Keyed::ah(auth, &Secret::new(key), false).map_err(|unfit| refused(format!("{unfit:?}")))?;
    let mut icv = vec![0; keyed.icv];
    engine.sign(&keyed, number, covered, &mut icv);
    Ok(PyBytes::new(py, &icv))
}

/// The engines of this build, the fastest first.
#[pyfunction]
fn engines() -> Vec<&'static str> {
    crypto::engines()
}

/// Number and word of every reason.
#[pyfunction]
fn reasons() -> Vec<(u8, &'static str)> {
    REASONS.iter().map(|reason: &Reason| (*reason as u8, reason.word())).collect()
}

#[pymodule]
fn culvert_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<NativeGateway>()?;
    module.add_function(wrap_pyfunction!(engines, module)?)?;
    module.add_function(wrap_pyfunction!(open_esp, module)?)?;
    module.add_function(wrap_pyfunction!(sign, module)?)?;
    module.add_function(wrap_pyfunction!(reasons, module)?)
}
