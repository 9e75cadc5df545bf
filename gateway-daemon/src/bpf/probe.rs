//! Runs a loaded program on a packet (`BPF_PROG_TEST_RUN`): for the kernel tests, the benchmarks
//! and diagnosis. The maps count what is run.

use std::time::Duration;

use aya::programs::{ProgramError, TestRun, TestRunOptions};
use gateway_common::abi::program;
use gateway_common::hook::Hook;

use super::load::Loaded;
use super::{BpfError, Privileged};

/// Bytes of `struct __sk_buff`, up to and with `gso_size`.
const SK_BUFF_BYTES: usize = 180;
/// Where its `gso_segs` stands.
const GSO_SEGMENTS: usize = 164;

/// A packet to run, from its Ethernet header on.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Its bytes; the kernel takes no fewer than 14.
    pub bytes: &'a [u8],
    /// Segments that it stands for (TC); 0 for a plain packet.
    pub segments: u32,
    /// How often to run it.
    pub repeat: u32,
}

impl<'a> Packet<'a> {
    /// A plain packet, run once.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, segments: 0, repeat: 1 }
    }
}

/// What a run gave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PacketRun {
    /// The program's answer: an XDP action, or a TC one.
    pub action: i32,
    /// Mean time of a run.
    pub duration: Duration,
}

impl Loaded {
    /// Runs the program of a hook on a packet, on this CPU, in this network namespace.
    pub fn run(
        &mut self,
        _: &Privileged,
        hook: Hook,
        packet: Packet<'_>,
    ) -> Result<PacketRun, BpfError> {
        let mut context = [0; SK_BUFF_BYTES];
        context[GSO_SEGMENTS..GSO_SEGMENTS + 4].copy_from_slice(&packet.segments.to_ne_bytes());
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet.bytes);
        options.repeat = packet.repeat;
        let result = match hook {
            Hook::Xdp => self.programs.xdp()?.test_run(options),
            Hook::TcIngress | Hook::TcEgress => {
                let ingress = hook == Hook::TcIngress;
                let name = if ingress { program::TC_INGRESS } else { program::TC_EGRESS };
                options.ctx_in = Some(&context);
                self.programs.classifier(name)?.test_run(options)
            }
        };
        let result = result.map_err(|error: ProgramError| {
            BpfError::from_program(format!("run a packet through {}", hook.name()), error)
        })?;
        Ok(PacketRun { action: result.return_value.cast_signed(), duration: result.duration })
    }

    /// How many instructions the verifier followed in the program of a hook: what loading it costs.
    /// None where the kernel does not say.
    pub fn verified(&mut self, hook: Hook) -> Result<Option<u32>, BpfError> {
        let info = match hook {
            Hook::Xdp => self.programs.xdp()?.info(),
            Hook::TcIngress => self.programs.classifier(program::TC_INGRESS)?.info(),
            Hook::TcEgress => self.programs.classifier(program::TC_EGRESS)?.info(),
        };
        let info = info.map_err(|error| {
            BpfError::from_program(format!("examine the program of {}", hook.name()), error)
        })?;
        Ok(info.verified_instruction_count())
    }
}
