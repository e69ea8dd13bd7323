#pragma once

#include <string>

namespace bloom::node {

/// What this process can say about how it runs (provider network section 2.6), as canonical JSON:
/// each fact {"evidence":"self","value":true|false|null}. Nothing here is proven by anybody else.
std::string read_posture();

} // namespace bloom::node
