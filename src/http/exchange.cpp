#include <bloom/http/exchange.hpp>

namespace bloom::http {

std::string_view Exchange::param(std::string_view name) const noexcept {
    for (std::size_t i = 0; i < n_params_; ++i) {
        if (params_[i].name == name) return params_[i].value;
    }
    return {};
}

} // namespace bloom::http
