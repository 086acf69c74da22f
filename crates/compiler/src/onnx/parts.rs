//! Bounds what decoding a protobuf file allocates.
//!
//! Two bytes of a file can stand for a message that takes hundreds of bytes decoded, so the size of the file alone is
//! no bound. This scan walks the messages of `onnx.proto3` without decoding them and counts the parts that get an
//! allocation of their own.

/// Largest number of messages and strings in a file.
pub const MAX_PARTS: usize = 1 << 18;

/// Nesting at which the decoder gives up (the limit of `prost`).
const MAX_DEPTH: usize = 100;

/// What is wrong with the framing of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartsError {
    /// More than [`MAX_PARTS`].
    TooMany,
    /// Not a sequence of protobuf fields.
    Malformed,
}

/// Checks that `bytes`, an encoded `ModelProto`, has at most [`MAX_PARTS`] parts.
pub(super) fn check(bytes: &[u8]) -> Result<(), PartsError> {
    let mut parts = 0;
    count(Message::Model, bytes, MAX_DEPTH, &mut parts)
}

/// The messages of `onnx.proto3` that hold others; [`Message::Leaf`] stands for the rest, and for strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Training,
    Function,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    Annotation,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Leaf,
}

impl Message {
    /// What field `number` holds, if that is a message or one of many strings.
    fn field(self, number: u64) -> Option<Message> {
        use Message::*;
        Some(match (self, number) {
            (Model, 7) => Graph,
            (Model, 8 | 14) => Leaf,
            (Model, 20) => Training,
            (Model, 25) => Function,
            (Training, 1 | 2) => Graph,
            (Training, 3 | 4) => Leaf,
            (Function, 4..=6 | 9) => Leaf,
            (Function, 7) => Node,
            (Function, 11) => Attribute,
            (Graph, 1) => Node,
            (Graph, 5) => Tensor,
            (Graph, 11..=13) => ValueInfo,
            (Graph, 14) => Annotation,
            (Graph, 15) => Sparse,
            (Node, 1 | 2) => Leaf,
            (Node, 5) => Attribute,
            (Attribute, 5 | 10) => Tensor,
            (Attribute, 6 | 11) => Graph,
            (Attribute, 9) => Leaf,
            (Attribute, 15) => Type,
            (Attribute, 22 | 23) => Sparse,
            (Tensor, 6 | 13) => Leaf,
            (Sparse, 1 | 2) => Tensor,
            (Annotation, 2) => Leaf,
            (ValueInfo, 2) => Type,
            (Type, 1) => TensorType,
            (TensorType, 2) => Shape,
            (Shape, 1) => Leaf,
            _ => return None,
        })
    }
}

fn count(message: Message, mut bytes: &[u8], depth: usize, parts: &mut usize) -> Result<(), PartsError> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        match key & 7 {
            0 => {
                varint(&mut bytes)?;
            }
            1 => skip(&mut bytes, 8).map(drop)?,
            5 => skip(&mut bytes, 4).map(drop)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| PartsError::Malformed)?;
                let body = skip(&mut bytes, length)?;
                if let Some(inner) = message.field(key >> 3) {
                    *parts += 1;
                    if *parts > MAX_PARTS {
                        return Err(PartsError::TooMany);
                    }
                    if inner != Message::Leaf {
                        count(inner, body, depth.checked_sub(1).ok_or(PartsError::Malformed)?, parts)?;
                    }
                }
            }
            // Groups (3 and 4) are not part of proto3.
            _ => return Err(PartsError::Malformed),
        }
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Result<u64, PartsError> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *bytes = &bytes[i + 1..];
            return Ok(value);
        }
    }
    Err(PartsError::Malformed)
}

fn skip<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], PartsError> {
    let (body, rest) = bytes.split_at_checked(length).ok_or(PartsError::Malformed)?;
    *bytes = rest;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        let mut length = body.len();
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn empty_nodes_are_counted_before_they_are_decoded() {
        let nodes = field(1, &[]).repeat(MAX_PARTS);
        assert_eq!(check(&field(7, &nodes)), Err(PartsError::TooMany));
        assert_eq!(check(&field(7, &nodes[..nodes.len() - 2])), Ok(()));
    }

    #[test]
    fn weights_are_not_parts() {
        let tensor = field(9, &vec![0x0a; 3 * MAX_PARTS]);
        assert_eq!(check(&field(7, &field(5, &tensor))), Ok(()));
    }

    #[test]
    fn framing_is_checked() {
        for bad in
            [&[0x80][..], &[0x3a, 5, 0], &[0x0b], &[0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]]
        {
            assert_eq!(check(bad), Err(PartsError::Malformed), "{bad:?}");
        }
        let nested = (0..60).fold(Vec::new(), |graph, _| field(1, &field(5, &field(6, &graph))));
        assert_eq!(check(&field(7, &nested)), Err(PartsError::Malformed), "deeper than the decoder goes");
    }
}
