#pragma once

#include <filesystem>

#include <bloom/engine/model_file.hpp>

namespace bloom::engine {

/// Vocabulary and chat templates of a Hugging Face or MLX directory: tokenizer.json, else
/// vocab.json and merges.txt, with their side files. A tokenizer.json that splits by expressions
/// which are not built in is taken where it then behaves like a published tokenizer of its family.
/// Errors: not_found (no tokenizer), those of text::read_hf_tokenizer.
Result<ModelTokenizer> read_directory_tokenizer(const std::filesystem::path& directory, Arch arch);

} // namespace bloom::engine
