// tests/support/agent_catch/catch2/catch.hpp -- as much of Catch as our unit tests use, for the agent's
// build: musl, no exceptions, no RTTI, none of the C++ library's input and output.
//
// Catch itself needs all of those. What this cannot do, tests in tests/core, tests/parent and
// tests/simulation do without: sections, generators, exceptions. A failed REQUIRE, which Catch answers with
// an exception, ends the program. main.cpp beside this folder has the rest.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <type_traits>

#include "core/text.h"

namespace agent_catch {

struct Place {
  const char* file;
  int line;
};

// A test case; a static object each, which puts itself on the list.
struct TestCase {
  TestCase(const char* name, Place place, void (*run)());
  const char* const name;
  const Place place;
  void (*const run)();
  TestCase* next = nullptr;
};

// Says what failed, where, and with what in scope. `must_hold`: ends the program.
void check_failed(const char* macro, const char* expression, const std::string& values, Place place,
                  bool must_hold);
void check_passed();

// What INFO and CAPTURE said; printed with a failure as long as the scope lasts.
class Note {
 public:
  explicit Note(std::string text);
  Note(const Note&) = delete;
  Note& operator=(const Note&) = delete;
  ~Note();

  std::string text;
  Note* const outer;
};

template <class T>
std::string show(const T& value) {
  using banyan::cat;
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_same_v<T, char>) {
    return cat('\'', value, '\'');
  } else if constexpr (std::is_integral_v<T>) {
    return cat(value);
  } else if constexpr (std::is_enum_v<T>) {
    return cat("enumerator ", static_cast<std::int64_t>(value));
  } else if constexpr (std::is_floating_point_v<T>) {
    char text[40];
    std::snprintf(text, sizeof text, "%g", static_cast<double>(value));
    return text;
  } else if constexpr (std::is_null_pointer_v<T>) {
    return "nullptr";
  } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    if constexpr (std::is_pointer_v<T>)
      if (value == nullptr) return "nullptr";
    return cat('"', std::string_view(value), '"');
  } else if constexpr (std::is_pointer_v<T>) {
    return value == nullptr ? "nullptr" : "a pointer";
  } else if constexpr (requires { value.begin() != value.end(); }) {
    std::string text = "{";
    for (const auto& element : value) text += (text.size() > 1 ? ", " : "") + show(element);
    return text + '}';
  } else {
    return "{?}";
  }
}

template <class... T>
std::string show_all(const char* names, const T&... values) {
  std::string text = banyan::cat(names, " := ");
  std::string_view separator;
  ((text += separator, text += show(values), separator = ", "), ...);
  return text;
}

// The left of INFO("split at " << at).
class Text {
 public:
  template <class T>
  Text& operator<<(const T& value) {
    if constexpr (std::is_convertible_v<const T&, std::string_view>)
      text_ += std::string_view(value);
    else if constexpr (std::is_same_v<T, char>)
      text_ += value;
    else
      text_ += show(value);
    return *this;
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

struct Outcome {
  bool holds;
  std::string values;  // of both sides; only when it does not hold, or when it should not have
};

// Takes `a == b` apart: Sides() <= a binds tighter than the comparison, which then finds this on its left.
template <class T>
struct Left {
  const T& value;

  template <class U>
  Outcome compared(bool holds, const char* how, const U& right) const {
    return {holds, banyan::cat(show(value), how, show(right))};
  }
  template <class U>
  Outcome operator==(const U& right) const {
    return compared(bool(value == right), " == ", right);
  }
  template <class U>
  Outcome operator!=(const U& right) const {
    return compared(bool(value != right), " != ", right);
  }
  template <class U>
  Outcome operator<(const U& right) const {
    return compared(bool(value < right), " < ", right);
  }
  template <class U>
  Outcome operator>(const U& right) const {
    return compared(bool(value > right), " > ", right);
  }
  template <class U>
  Outcome operator<=(const U& right) const {
    return compared(bool(value <= right), " <= ", right);
  }
  template <class U>
  Outcome operator>=(const U& right) const {
    return compared(bool(value >= right), " >= ", right);
  }
  operator Outcome() const { return {bool(value), show(value)}; }
};

struct Sides {
  template <class T>
  Left<T> operator<=(const T& value) const {
    return {value};
  }
};

inline void judge(const char* macro, const char* expression, const Outcome& outcome, bool wanted, Place place,
                  bool must_hold) {
  if (outcome.holds == wanted)
    check_passed();
  else
    check_failed(macro, expression, outcome.values, place, must_hold);
}

}  // namespace agent_catch

#define AGENT_CATCH_JOIN2(a, b) a##b
#define AGENT_CATCH_JOIN(a, b) AGENT_CATCH_JOIN2(a, b)
#define AGENT_CATCH_PLACE \
  ::agent_catch::Place {  \
    __FILE__, __LINE__    \
  }

#define AGENT_CATCH_TEST(function, name)                                                               \
  static void function();                                                                              \
  static ::agent_catch::TestCase AGENT_CATCH_JOIN(function, _case)(name, AGENT_CATCH_PLACE, function); \
  static void function()
#define TEST_CASE(...) AGENT_CATCH_TEST(AGENT_CATCH_JOIN(agent_catch_test_, __COUNTER__), __VA_ARGS__)

#define AGENT_CATCH_JUDGE(macro, wanted, must_hold, ...)                                   \
  ::agent_catch::judge(macro, #__VA_ARGS__, ::agent_catch::Sides() <= __VA_ARGS__, wanted, \
                       AGENT_CATCH_PLACE, must_hold)
#define CHECK(...) AGENT_CATCH_JUDGE("CHECK", true, false, __VA_ARGS__)
#define CHECK_FALSE(...) AGENT_CATCH_JUDGE("CHECK_FALSE", false, false, __VA_ARGS__)
#define REQUIRE(...) AGENT_CATCH_JUDGE("REQUIRE", true, true, __VA_ARGS__)
#define REQUIRE_FALSE(...) AGENT_CATCH_JUDGE("REQUIRE_FALSE", false, true, __VA_ARGS__)

#define AGENT_CATCH_TEXT(...) (::agent_catch::Text() << __VA_ARGS__).take()
#define FAIL(...) \
  ::agent_catch::check_failed("FAIL", AGENT_CATCH_TEXT(__VA_ARGS__).c_str(), {}, AGENT_CATCH_PLACE, true)
#define INFO(...) \
  const ::agent_catch::Note AGENT_CATCH_JOIN(agent_catch_note_, __COUNTER__)(AGENT_CATCH_TEXT(__VA_ARGS__))
#define CAPTURE(...)                          \
  const ::agent_catch::Note AGENT_CATCH_JOIN( \
      agent_catch_note_, __COUNTER__)(::agent_catch::show_all(#__VA_ARGS__, __VA_ARGS__))
