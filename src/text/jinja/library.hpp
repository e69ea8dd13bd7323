#pragma once

#include <string_view>

#include "text/jinja/ast.hpp"

/// Filters, tests and methods by name. All tables are fixed at compile time.
namespace bloom::text::jinja {

using MethodFn = Result<Value> (*)(Interpreter&, const Value& self, CallArguments&);
using FunctionFn = Result<Value> (*)(Interpreter&, CallArguments&);

template <class Fn>
struct NamedFn {
    std::string_view name;
    Fn fn;
};

/// Null when there is none of that name.
FilterFn find_filter(std::string_view name) noexcept;
TestFn find_test(std::string_view name) noexcept;
MethodFn find_method(const Value& self, std::string_view name) noexcept;
FunctionFn find_function(std::string_view name) noexcept;

// The parts of the tables, by file.
FilterFn find_text_filter(std::string_view name) noexcept;
FilterFn find_sequence_filter(std::string_view name) noexcept;
MethodFn find_string_method(std::string_view name) noexcept;

template <class Fn, std::size_t n>
Fn find_in(const NamedFn<Fn> (&table)[n], std::string_view name) noexcept {
    for (const NamedFn<Fn>& entry : table) {
        if (entry.name == name) return entry.fn;
    }
    return nullptr;
}

} // namespace bloom::text::jinja
