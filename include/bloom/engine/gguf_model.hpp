#pragma once

#include <bloom/base/result.hpp>
#include <bloom/engine/gguf.hpp>
#include <bloom/engine/model_config.hpp>
#include <bloom/engine/model_file.hpp>

namespace bloom::engine {

/// What the metadata of a GGUF file say about the model, validated. Biases, a head of its own and
/// frequency divisors are recognised by their tensors, for the metadata do not name them.
/// Errors: unsupported (architecture, rope type, experts), corrupt, not_found (a required key).
Result<ModelConfig> read_gguf_config(const GgufFile& file);

/// The vocabulary of `tokenizer.ggml.*` and the templates of `tokenizer.chat_template` ("default")
/// and `tokenizer.chat_template.<name>`. Works on files without tensors, too. Errors: not_found (no
/// tokenizer), unsupported (its kind), corrupt (lists of different lengths, ids outside the list),
/// too_large.
Result<ModelTokenizer> read_gguf_tokenizer(const GgufFile& file);

} // namespace bloom::engine
