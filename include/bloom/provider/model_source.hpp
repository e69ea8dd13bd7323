#pragma once

#include <string>
#include <string_view>

#include <bloom/base/bytes.hpp>
#include <bloom/base/result.hpp>
#include <bloom/engine/model_file.hpp>

namespace bloom::provider {

/// Id of the model that is compiled into the binary.
inline constexpr std::string_view kBuiltInModel = "darkbloom/nano";

/// GGUF image of the built-in model, in the binary's read-only data.
ByteSpan built_in_model() noexcept;

/// `PATH`, `ID`, `PATH=ALIAS` or `ID=ALIAS` as `--model` takes it. Paths and aliases may both hold
/// '=' and '/': what exists is a path, what the catalog has is an id, and the rightmost '=' behind
/// one of them splits.
struct ModelSource {
    std::string source;
    std::string alias; ///< empty: derived from the model

    static ModelSource parse(std::string_view text);
};

/// Whether there is something under that name. Errors: not_found saying what would be accepted.
Result<> check_model_source(std::string_view source);

/// Opens what a source names: the built-in model by its id, anything else as a path.
/// Errors: those of check_model_source and of engine::ModelFile::open.
Result<engine::ModelFile> open_model(std::string_view source);

/// The id under which a source is served when no alias is given and the catalog does not know the
/// model: the built-in id, or the file's or folder's name without the extension.
std::string default_model_id(std::string_view source);

} // namespace bloom::provider
