//! Packets made by the kernel itself (`BPF_PROG_TEST_RUN` with live frames): cheaper than any sender
//! in user space, so that what is measured is who receives.

use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp};
use gateway_tests::object::{EXIT, Instruction, Kind, program};

const NAME: &str = "pump";
/// Frames at a time; the ring of a veth takes 256.
const BATCH: u32 = 64;

/// Where frames go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Toward {
    /// Nowhere: what making them costs.
    Nowhere,
    /// Into the stack, as if they had arrived on this interface.
    Arriving(u32),
    /// Out of this interface, to whoever is at the other end of its cable.
    Leaving(u32),
}

/// What differs from frame to frame: two bytes, and two others of the same checksum that take back what
/// is added, so that the checksum stays right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    number: i16,
    balance: i16,
}

/// The last two bytes of the source address, and the identification.
pub(crate) const SOURCE: Field = Field { number: 28, balance: 18 };
/// The source port, and the urgent pointer.
pub(crate) const SOURCE_PORT: Field = Field { number: 34, balance: 52 };
/// What the two are together.
pub(crate) const SUM: u16 = 0x4000;

/// A program that gives each frame a number and sends it on its way.
pub(crate) struct Pump {
    ebpf: Ebpf,
    toward: Toward,
}

impl Pump {
    /// Every frame has a number of its own, below `numbers`, a power of two of at most 16,384.
    pub(crate) fn new(toward: Toward, field: Field, numbers: u32) -> Self {
        let code = code(toward, field, numbers);
        let mut ebpf = Ebpf::load(&program(Kind::Xdp, NAME, &code)).unwrap();
        let program: &mut Xdp = ebpf.program_mut(NAME).unwrap().try_into().unwrap();
        program.load().unwrap();
        Self { ebpf, toward }
    }

    /// Sends so many frames, and answers how long that took; with what they caused, where that is done
    /// on the same CPU.
    pub(crate) fn send(&mut self, frame: &[u8], count: u32) -> Duration {
        let mut context = [0; 24];
        context[4..8].copy_from_slice(&u32::try_from(frame.len()).unwrap().to_ne_bytes());
        if let Toward::Arriving(interface) = self.toward {
            context[12..16].copy_from_slice(&interface.to_ne_bytes());
        }
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.ctx_in = Some(&context);
        options.repeat = count;
        options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
        let program: &mut Xdp = self.ebpf.program_mut(NAME).unwrap().try_into().unwrap();
        let started = Instant::now();
        program.test_run(options).unwrap();
        started.elapsed()
    }
}

fn code(toward: Toward, field: Field, numbers: u32) -> Vec<Instruction> {
    const HEADERS: i32 = 54;
    const RANDOM: i32 = 7;
    const REDIRECT: i32 = 23;
    let mask = i32::try_from(numbers - 1).unwrap();
    let mut code = vec![
        (0x61, 7, 1, 0, 0),       // r7 = data
        (0x61, 8, 1, 4, 0),       // r8 = data_end
        (0xbf, 2, 7, 0, 0),       // r2 = r7
        (0x07, 2, 0, 0, HEADERS), // r2 += 54
        (0x3d, 8, 2, 2, 0),       // if r8 >= r2, on
        (0xb7, 0, 0, 0, 0),       // r0 = XDP_ABORTED
        EXIT,
        (0x85, 0, 0, 0, RANDOM),         // r0 = a random number
        (0x57, 0, 0, 0, mask),           // r0 &= mask
        (0xb7, 1, 0, 0, i32::from(SUM)), // r1 = SUM
        (0x1f, 1, 0, 0, 0),              // r1 -= r0
        (0xdc, 0, 0, 0, 16),             // both in network order
        (0xdc, 1, 0, 0, 16),
        (0x6b, 7, 0, field.number, 0),  // the number = r0
        (0x6b, 7, 1, field.balance, 0), // the balance = r1
    ];
    match toward {
        Toward::Nowhere => code.extend([(0xb7, 0, 0, 0, 1), EXIT]),
        Toward::Arriving(_) => code.extend([(0xb7, 0, 0, 0, 2), EXIT]),
        Toward::Leaving(interface) => code.extend([
            (0xb7, 1, 0, 0, i32::try_from(interface).unwrap()),
            (0xb7, 2, 0, 0, 0),
            (0x85, 0, 0, 0, REDIRECT),
            EXIT,
        ]),
    }
    code
}

/// Gives an IPv4 segment of 54 bytes its checksums, with [`SUM`] as the balance of a field.
pub(crate) fn with_checksums(mut frame: Vec<u8>, field: Field) -> Vec<u8> {
    let balance = usize::try_from(field.balance).unwrap();
    let number = usize::try_from(field.number).unwrap();
    frame[number..number + 2].fill(0);
    frame[balance..balance + 2].copy_from_slice(&SUM.to_be_bytes());
    frame[24..26].fill(0);
    frame[50..52].fill(0);
    let network = checksum(words(&frame[14..34]));
    // The pseudo header: both addresses, protocol and length (RFC 9293).
    let transport = checksum(words(&frame[26..54]) + 6 + 20);
    frame[24..26].copy_from_slice(&network.to_be_bytes());
    frame[50..52].copy_from_slice(&transport.to_be_bytes());
    frame
}

fn words(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum()
}

fn checksum(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
