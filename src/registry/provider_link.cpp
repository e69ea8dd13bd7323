#include <bloom/registry/provider_link.hpp>

namespace bloom::registry {

std::string_view to_string(TrustLevel level) noexcept {
    switch (level) {
    case TrustLevel::none:
        return "none";
    case TrustLevel::self_signed:
        return "self_signed";
    case TrustLevel::hardware:
        return "hardware";
    }
    return "none";
}

} // namespace bloom::registry
