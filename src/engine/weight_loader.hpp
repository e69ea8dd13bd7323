#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <bloom/engine/hf_config.hpp>
#include <bloom/engine/weights.hpp>

#include "engine/roles.hpp"

namespace bloom::engine {

/// Where the rows of one role lie in the tensor that has them. A tensor may be a stack of matrices,
/// and each of these may be shared by several roles.
struct Cut {
    std::int64_t n_stacked = 0; ///< matrices of the tensor; 0: it is one and has no axis for them
    std::int64_t parts = 1;     ///< roles that share every matrix, all with the same number of rows
    std::int64_t part = 0;      ///< which of them this is
    bool by_heads = false;      ///< the parts take turns from head to head
};

/// Builds Weights from a list of tensors; one use.
class WeightLoader {
public:
    WeightLoader(const ModelConfig& config, std::span<const TensorInfo> tensors);

    Result<Weights> load_gguf();
    Result<Weights> without_file(kernels::WeightFormat format);
    Result<Weights> load_hf(const HfQuantization& quantization);

private:
    using Load = std::function<Result<WeightView>(const roles::RoleInfo&, std::int64_t)>;

    /// nullptr when the file has none of that name; HF names in their canonical spelling.
    const TensorInfo* find(std::string_view name) const;
    /// The tensor, marked as used. Errors: corrupt when the file has none of that name.
    Result<const TensorInfo*> take(std::string_view name);
    /// How the file would spell a canonical name.
    std::string in_file(std::string_view name) const;
    Error missing(std::string_view name) const;

    Result<Weights> load_all(const Load& load_one);
    Result<WeightView> gguf_view(const roles::RoleInfo& role, std::int64_t layer);
    /// A vector, a matrix or a stack of them that is one tensor: Q8_0, F16, BF16 or F32.
    Result<WeightView> plain_view(Role role, std::int64_t layer, const TensorInfo& tensor,
                                  const Cut& cut);
    /// The part of `tensor` that `cut` names, for WeightView::ranges.
    static FileRange range_of(const TensorInfo& tensor, const Cut& cut) noexcept;
    /// Points a view whose matrix begins at the tensor's first row to its own rows.
    void place(WeightView& view, const Cut& cut) const;
    /// Cut of a matrix that is alone in its tensor or shares it head by head.
    Cut matrix_cut(Role role) const noexcept;
    Result<> check_vectors() const;

    // Hugging Face and MLX directories: weight_loader_hf.cpp.
    Result<> index_hf_names();
    Result<> find_hf_layout();
    std::string hf_path(std::string_view path, std::int64_t layer) const;
    bool has_module(std::string_view path) const;
    std::string spelled(std::string path) const;
    Result<WeightView> hf_view(const roles::RoleInfo& role, std::int64_t layer,
                               const HfQuantization& quantization);
    Result<WeightView> hf_vector(Role role, std::int64_t layer);
    Result<WeightView> hf_matrix(Role role, std::int64_t layer, const std::string& path,
                                 const HfQuantization& quantization, const Cut& cut);
    Result<WeightView> hf_experts(Role role, std::int64_t layer,
                                  const HfQuantization& quantization);
    Result<WeightView> hf_single_experts(Role role, std::int64_t layer, const std::string& place,
                                         std::string_view name, const HfQuantization& quantization);
    Result<> check_settings(const TensorInfo& weight, const std::string& path,
                            const HfQuantization& quantization) const;
    Result<WeightView> affine_view(Role role, std::int64_t layer, const TensorInfo& weight,
                                   const std::string& path, const Cut& cut);
    ValueMap hf_values(Role role, std::int64_t layer) const noexcept;
    bool is_expected_extra(std::string_view name) const;
    bool is_of_later_layer(std::string_view name) const;

    const ModelConfig& config_;
    std::span<const TensorInfo> tensors_;
    std::unordered_map<std::string, std::size_t, StringHash, std::equal_to<>> by_name_;
    std::vector<bool> used_;
    std::string text_prefix_; ///< what the file writes for `model.`; empty: just that
    bool raw_norms_ = false;  ///< norms are stored less one
    Weights out_;
};

/// The format of a tensor that is not quantised. Errors: unsupported.
Result<kernels::WeightFormat> plain_format(const TensorInfo& tensor);
Error wrong_shape(const TensorInfo& tensor, std::string_view wanted);
/// Errors: corrupt, unless the tensor is what `cut` says with `rows` rows of `columns` elements.
Result<> check_matrix_shape(const TensorInfo& tensor, const Cut& cut, std::int64_t rows,
                            std::int64_t columns);

} // namespace bloom::engine
