//! The declarations of AML, one after the other: what is named, what it is, and where it ends.
//!
//! Spec: ACPI 6.5, 20.2 "AML Grammar Definition".

/// The bytes of a table that are left, and where they are in it.
pub(super) struct Reader<'t> {
    left: &'t [u8],
    offset_bytes: usize,
}

/// A declaration.
pub(super) enum Term<'t> {
    /// A name with a value; the last segment of the name.
    Name([u8; 4], Value<'t>),
    /// What is declared in a scope.
    Scope(Reader<'t>),
    /// What is declared in a device.
    Device(Reader<'t>),
    /// Another one, of no use here.
    Other,
}

/// A value.
#[derive(Clone, Copy)]
pub(super) enum Value<'t> {
    Integer(u64),
    /// Without the zero at its end.
    String(&'t [u8]),
    Buffer(&'t [u8]),
    /// A package, or the name of something.
    Other,
}

impl<'t> Reader<'t> {
    pub(super) const fn new(table: &'t [u8]) -> Self {
        Self { left: table, offset_bytes: 0 }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Where the next byte is, from the start of the table.
    pub(super) const fn offset_bytes(&self) -> usize {
        self.offset_bytes
    }

    /// The next `len_bytes`.
    fn take(&mut self, len_bytes: usize) -> Option<&'t [u8]> {
        let (taken, left) = self.left.split_at_checked(len_bytes)?;
        self.left = left;
        self.offset_bytes = self.offset_bytes.saturating_add(len_bytes);
        Some(taken)
    }

    pub(super) fn skip(&mut self, len_bytes: usize) -> Option<()> {
        self.take(len_bytes).map(|_| ())
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// The next byte, which stays.
    fn peek(&self) -> Option<u8> {
        self.left.first().copied()
    }

    /// An integer of `len_bytes`.
    fn integer(&mut self, len_bytes: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        bytes.get_mut(..len_bytes)?.copy_from_slice(self.take(len_bytes)?);
        Some(u64::from_le_bytes(bytes))
    }

    /// What is in a package: its length, which counts itself, then that.
    ///
    /// Spec: ACPI 6.5, 20.2.4 "Package Length Encoding".
    fn package(&mut self) -> Option<Reader<'t>> {
        let before = self.left.len();
        let lead = self.byte()?;
        let more = usize::from(lead >> 6);
        let len_bytes = if more == 0 {
            usize::from(lead & 0x3f)
        } else {
            usize::try_from(self.integer(more)? << 4).ok()? | usize::from(lead & 0xf)
        };
        let offset_bytes = self.offset_bytes;
        let left = self.take(len_bytes.checked_sub(before.checked_sub(self.left.len())?)?)?;
        Some(Reader { left, offset_bytes })
    }

    /// A name, relative or not: its last segment; four zeroes for none.
    ///
    /// Spec: ACPI 6.5, 20.2.2 "Name Objects Encoding".
    fn name(&mut self) -> Option<[u8; 4]> {
        const NULL: u8 = 0;
        const DUAL: u8 = 0x2e;
        const MULTI: u8 = 0x2f;
        while let Some(b'\\' | b'^') = self.peek() {
            self.byte();
        }
        let segments = match self.peek()? {
            NULL => {
                self.byte();
                return Some([0; 4]);
            }
            DUAL => {
                self.byte();
                2
            }
            MULTI => {
                self.byte();
                self.byte()?
            }
            _ => 1,
        };
        let mut last = [0; 4];
        for _ in 0..segments {
            last = *self.take(4)?.first_chunk()?;
            if !last.iter().all(|letter| matches!(letter, b'A'..=b'Z' | b'0'..=b'9' | b'_')) {
                return None;
            }
        }
        Some(last)
    }

    /// A value that stands there as it is. How much stack that takes no table decides.
    ///
    /// Spec: ACPI 6.5, 20.2.3 "Data Objects Encoding".
    fn value(&mut self) -> Option<Value<'t>> {
        const BUFFER: u8 = 0x11;
        if matches!(self.peek()?, b'A'..=b'Z' | b'_' | b'\\' | b'^' | 0x2e | 0x2f) {
            return self.name().map(|_| Value::Other);
        }
        Some(match self.byte()? {
            0x00 => Value::Integer(0),
            0x01 => Value::Integer(1),
            0xff => Value::Integer(u64::MAX),
            0x0a => Value::Integer(self.integer(1)?),
            0x0b => Value::Integer(self.integer(2)?),
            0x0c => Value::Integer(self.integer(4)?),
            0x0e => Value::Integer(self.integer(8)?),
            0x0d => {
                let len_bytes = self.left.iter().position(|byte| *byte == 0)?;
                let text = self.take(len_bytes)?;
                self.skip(1)?;
                Value::String(text)
            }
            BUFFER => {
                let mut inside = self.package()?;
                // A length that is one of these, whose length may be another, and so on.
                if inside.peek()? == BUFFER {
                    return Some(Value::Other);
                }
                // How long it is at run time comes first, and is no less than what is written.
                match inside.value()? {
                    Value::Integer(_) => Value::Buffer(inside.left),
                    _ => Value::Other,
                }
            }
            0x12 | 0x13 => {
                self.package()?;
                Value::Other
            }
            _ => return None,
        })
    }
}

/// The next declaration. `None` if there is none, or something else, or it is cut off.
///
/// Spec: ACPI 6.5, 20.2.5 "Term Objects Encoding".
pub(super) fn take_term<'t>(reader: &mut Reader<'t>) -> Option<Term<'t>> {
    const EXTENDED: u8 = 0x5b;
    match reader.byte()? {
        // Alias.
        0x06 => {
            reader.name()?;
            reader.name()?;
        }
        0x08 => return Some(Term::Name(reader.name()?, reader.value()?)),
        0x10 => {
            let mut inside = reader.package()?;
            inside.name()?;
            return Some(Term::Scope(inside));
        }
        // A method; what is declared when a condition holds.
        0x14 | 0xa0 | 0xa1 => {
            reader.package()?;
        }
        // External.
        0x15 => {
            reader.name()?;
            reader.skip(2)?;
        }
        EXTENDED => match reader.byte()? {
            // Mutex.
            0x01 => {
                reader.name()?;
                reader.skip(1)?;
            }
            // Event.
            0x02 => {
                reader.name()?;
            }
            // A region: its space, where it starts, how long it is.
            0x80 => {
                reader.name()?;
                reader.skip(1)?;
                reader.value()?;
                reader.value()?;
            }
            0x82 => {
                let mut inside = reader.package()?;
                inside.name()?;
                return Some(Term::Device(inside));
            }
            // Fields, processors, sources of power, thermal zones.
            0x81 | 0x83..=0x87 => {
                reader.package()?;
            }
            _ => return None,
        },
        _ => return None,
    }
    Some(Term::Other)
}
