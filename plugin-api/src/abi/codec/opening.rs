//! What a `START` message carries: the provider and the operation.

use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::{
    MessageError,
    payload::{pack_for, unpack, utf8},
};
use crate::{
    abi::message::{Message, kind},
    instance::Instance,
    operation::Operation,
};

/// What a `START` message carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    /// The provider, as configured.
    pub instance: Instance,
    /// What to do.
    pub operation: Operation,
}

impl Opening {
    /// Writes it, for [`encode_input`](super::encode_input).
    ///
    /// # Errors
    ///
    /// [`MessageError`] when the request is nested too deep.
    pub fn pack(&self) -> Result<PackedOpening, MessageError> {
        PackedOpening::of(&self.instance, &self.operation)
    }
}

/// An [`Opening`] as it crosses. The default is for all inputs but `START`, which have none.
///
/// The operation's name stands beside the payload, not in it: serde would have to hold a whole
/// conversation back until it met the name, which more than doubles the time that it takes to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedOpening {
    pub(super) operation: &'static str,
    pub(super) bytes: Vec<u8>,
}

impl PackedOpening {
    /// Writes what an [`Opening`] of these would hold.
    ///
    /// # Errors
    ///
    /// [`MessageError`] when the request is nested too deep.
    pub fn of(instance: &Instance, operation: &Operation) -> Result<Self, MessageError> {
        let bytes = match operation {
            Operation::Chat(request) | Operation::CountTokens(request) => given(instance, request),
            Operation::ListModels(request) => given(instance, request),
            Operation::DescribeModel(request) => given(instance, request),
            Operation::Embed(request) => given(instance, request),
            Operation::ListContextChunks(request) => given(instance, request),
            Operation::DeleteContextChunk(request) => given(instance, request),
            Operation::ValidateApiKey(request) => given(instance, request),
            Operation::GenerateAuthUrl(request) => given(instance, request),
            Operation::ExchangeCode(request) => given(instance, request),
            Operation::RefreshToken(tokens) | Operation::ExtractApiCredentials(tokens) => {
                given(instance, tokens)
            }
            Operation::TestConnection | Operation::Unknown => given(instance, &()),
        }?;
        Ok(Self { operation: operation.wire_name(), bytes })
    }
}

fn given<T: Serialize>(instance: &Instance, request: &T) -> Result<Vec<u8>, MessageError> {
    #[derive(Serialize)]
    struct Given<'a, T> {
        instance: &'a Instance,
        request: &'a T,
    }
    pack_for(kind::START, &Given { instance, request })
}

/// Reads the payload of a `START` message.
///
/// # Errors
///
/// [`MessageError`] when the host sent something else.
pub fn decode_opening(message: &Message<'_>) -> Result<Opening, MessageError> {
    #[derive(Deserialize)]
    #[serde(bound = "T: Default + Deserialize<'de>")]
    struct Given<T> {
        instance: Instance,
        #[serde(default)]
        request: T,
    }
    fn read<T: Default + DeserializeOwned>(
        message: &Message<'_>,
        operation: impl FnOnce(T) -> Operation,
    ) -> Result<(Instance, Operation), MessageError> {
        let given: Given<T> = unpack(message)?;
        Ok((given.instance, operation(given.request)))
    }
    let (mut instance, operation) = match utf8(message, message.text_bytes())? {
        "chat" => read(message, Operation::Chat),
        "count_tokens" => read(message, Operation::CountTokens),
        "list_models" => read(message, Operation::ListModels),
        "describe_model" => read(message, Operation::DescribeModel),
        "embed" => read(message, Operation::Embed),
        "list_context_chunks" => read(message, Operation::ListContextChunks),
        "delete_context_chunk" => read(message, Operation::DeleteContextChunk),
        "validate_api_key" => read(message, Operation::ValidateApiKey),
        "test_connection" => read(message, |_: IgnoredAny| Operation::TestConnection),
        "generate_auth_url" => read(message, Operation::GenerateAuthUrl),
        "exchange_code" => read(message, Operation::ExchangeCode),
        "refresh_token" => read(message, Operation::RefreshToken),
        "extract_api_credentials" => read(message, Operation::ExtractApiCredentials),
        _ => read(message, |_: IgnoredAny| Operation::Unknown),
    }?;
    instance.contract_minor = u32::try_from(message.b).unwrap_or(u32::MAX);
    Ok(Opening { instance, operation })
}
