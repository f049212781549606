use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::io::FromRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use crate::json::Json;

/// The other end of descriptor 3.
pub struct Runtime {
    reading: Mutex<UnixStream>,
    writing: Mutex<UnixStream>,
}

impl Runtime {
    /// # Safety
    ///
    /// Descriptor 3 is a socket that nobody else uses; this is called once.
    pub unsafe fn connect() -> Result<Self> {
        let given = UnixStream::from_raw_fd(3);
        // Copies that no child of the handler inherits; the one we were given is closed.
        let (reading, writing) = (given.try_clone()?, given.try_clone()?);
        Ok(Self {
            reading: Mutex::new(reading),
            writing: Mutex::new(writing),
        })
    }

    /// Header and payload of the next frame.
    pub fn read(&self) -> Result<(Json, Vec<u8>)> {
        let mut stream = self
            .reading
            .lock()
            .map_err(|_| broken("the reader panicked"))?;
        let mut lengths = [0; 8];
        stream.read_exact(&mut lengths)?;
        let size = |from: usize| {
            let part = &lengths[from..from + 4];
            part.iter()
                .fold(0usize, |so_far, byte| so_far << 8 | usize::from(*byte))
        };
        let mut header = vec![0; size(0)];
        stream.read_exact(&mut header)?;
        let mut payload = vec![0; size(4)];
        stream.read_exact(&mut payload)?;
        let text = std::str::from_utf8(&header).map_err(|_| broken("not UTF-8"))?;
        Ok((Json::read(text).ok_or_else(|| broken("not JSON"))?, payload))
    }

    /// Send one frame; the parts of the payload follow one another.
    pub fn say(&self, header: &str, payload: &[&[u8]]) -> Result<()> {
        let size: usize = payload.iter().map(|part| part.len()).sum();
        let mut frame = Vec::with_capacity(8 + header.len() + size);
        frame.extend_from_slice(&(header.len() as u32).to_be_bytes());
        frame.extend_from_slice(&(size as u32).to_be_bytes());
        frame.extend_from_slice(header.as_bytes());
        payload
            .iter()
            .for_each(|part| frame.extend_from_slice(part));
        let mut stream = self
            .writing
            .lock()
            .map_err(|_| broken("a writer panicked"))?;
        stream.write_all(&frame)
    }
}

fn broken(text: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, text)
}
