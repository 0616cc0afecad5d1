// shm/record.h -- structs that can be rows: described in one line, so that NumPy reads them too.
//
//   struct Trade { std::int64_t index; double price; char side; };
//   BANYAN_SHM_RECORD(Trade, index, price, side);
//
// gives descriptor_of<Trade>() == "[('index', '<i8'), ('price', '<f8'), ('side', '|S1'), ('', '|V7')]": what
// numpy.lib.format.descr_to_dtype takes, padding included. The line stands in the namespace of the struct.
//
// Fields are integers, floats, bool, enums, char arrays (text of at most so many bytes), and arrays of these.
// A first field `index` of 64 bits is written by the array: the number of the row, whatever was pushed.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "shm/result.h"

namespace banyan::shm {

struct Field {
  std::string_view name;
  std::size_t offset = 0;
  char code = 'V';        // NumPy's: i u f b S, V for padding
  std::size_t bytes = 0;  // of one element
  std::size_t count = 0;  // elements of an array; 0: no array

  constexpr std::size_t size() const { return bytes * (count == 0 ? 1 : count); }
};

namespace detail {

template <class T>
struct FieldType {
  static constexpr bool kKnown = std::is_arithmetic_v<T> || std::is_enum_v<T>;
  static constexpr Field make() {
    Field field;
    field.bytes = sizeof(T);
    if constexpr (std::is_enum_v<T>) {
      field.code = std::is_signed_v<std::underlying_type_t<T>> ? 'i' : 'u';
    } else if constexpr (std::is_same_v<T, bool>) {
      field.code = 'b';
    } else if constexpr (std::is_same_v<T, char>) {
      field.code = 'S';
    } else if constexpr (std::is_floating_point_v<T>) {
      field.code = 'f';
    } else {
      field.code = std::is_signed_v<T> ? 'i' : 'u';
    }
    return field;
  }
};

template <class T, std::size_t N>
struct FieldType<T[N]> {
  static constexpr bool kKnown = FieldType<T>::kKnown && !std::is_array_v<T>;
  static constexpr Field make() {
    Field field = FieldType<T>::make();
    if (field.code == 'S')
      field.bytes = N;  // text, not an array of letters
    else
      field.count = N;
    return field;
  }
};

template <class T, std::size_t N>
struct FieldType<std::array<T, N>> : FieldType<T[N]> {};

template <std::size_t N>
constexpr bool fit_in(const std::array<Field, N>& fields, std::size_t bytes) {
  std::size_t end = 0;
  for (const Field& field : fields) {
    if (field.offset < end) return false;
    end = field.offset + field.size();
  }
  return end <= bytes;
}

}  // namespace detail

template <class T>
constexpr Field field_of(std::string_view name, std::size_t offset) {
  static_assert(detail::FieldType<T>::kKnown,
                "a field is a number, bool, enum, char array, or an array of those");
  Field field = detail::FieldType<T>::make();
  field.name = name;
  field.offset = offset;
  return field;
}

template <class T>
concept Record = std::is_trivially_copyable_v<T> && std::is_standard_layout_v<T> &&
                     std::is_default_constructible_v<T> && alignof(T) <= 64 &&
                 requires {
  banyan_shm_fields(static_cast<const T*>(nullptr));
};

template <Record T>
constexpr auto fields_of() {
  return banyan_shm_fields(static_cast<const T*>(nullptr));
}

template <Record T>
constexpr bool has_index() {
  constexpr Field kFirst = fields_of<T>()[0];
  return kFirst.name == "index" && kFirst.offset == 0 && (kFirst.code == 'i' || kFirst.code == 'u') &&
         kFirst.bytes == 8 && kFirst.count == 0;
}

// What NumPy calls a descr, of a record that takes `bytes`.
std::string descriptor_text(std::span<const Field> fields, std::size_t bytes);

template <Record T>
std::string descriptor_of() {
  constexpr auto kFields = fields_of<T>();
  return descriptor_text(kFields, sizeof(T));
}

// The bytes that a record of that descriptor takes. kBadToken for a text that descriptor_text() does not
// write, or of more than 4096 fields.
Result<std::size_t> descriptor_bytes(std::string_view text);

// Pairs of field names: from what is given, to what is wanted.
using FieldMap = std::span<const std::pair<std::string_view, std::string_view>>;

// Copies of fields, record to record. Made once, applied to many.
class FieldPlan {
 public:
  // Each field of `to` from the one of that name in `from`; with a `map`, only those it names. kFields names
  // the fields that are missing, or else those that are unknown, or whose type differs.
  static Result<FieldPlan> make(std::span<const Field> from, std::span<const Field> to, FieldMap map = {});
  void apply(const std::byte* from, std::byte* to) const;

 private:
  struct Piece {
    std::size_t from, to, bytes;
  };
  std::vector<Piece> pieces_;
};

}  // namespace banyan::shm

// The fields, one by one, through the preprocessor's own recursion: up to 256 of them.
#define BANYAN_SHM_PARENTHESES ()
#define BANYAN_SHM_EXPAND(...) \
  BANYAN_SHM_EXPAND3(BANYAN_SHM_EXPAND3(BANYAN_SHM_EXPAND3(BANYAN_SHM_EXPAND3(__VA_ARGS__))))
#define BANYAN_SHM_EXPAND3(...) \
  BANYAN_SHM_EXPAND2(BANYAN_SHM_EXPAND2(BANYAN_SHM_EXPAND2(BANYAN_SHM_EXPAND2(__VA_ARGS__))))
#define BANYAN_SHM_EXPAND2(...) \
  BANYAN_SHM_EXPAND1(BANYAN_SHM_EXPAND1(BANYAN_SHM_EXPAND1(BANYAN_SHM_EXPAND1(__VA_ARGS__))))
#define BANYAN_SHM_EXPAND1(...) __VA_ARGS__
#define BANYAN_SHM_EACH(Row, field, ...)                                      \
  ::banyan::shm::field_of<decltype(Row::field)>(#field, offsetof(Row, field)) \
      __VA_OPT__(, BANYAN_SHM_AGAIN BANYAN_SHM_PARENTHESES(Row, __VA_ARGS__))
#define BANYAN_SHM_AGAIN() BANYAN_SHM_EACH

#define BANYAN_SHM_RECORD(Row, ...)                                                                    \
  [[maybe_unused]] constexpr auto banyan_shm_fields(const Row*) {                                      \
    return std::array{BANYAN_SHM_EXPAND(BANYAN_SHM_EACH(Row, __VA_ARGS__))};                           \
  }                                                                                                    \
  static_assert(                                                                                       \
      ::banyan::shm::detail::fit_in(banyan_shm_fields(static_cast<const Row*>(nullptr)), sizeof(Row)), \
      "the fields of " #Row " stand in another order than in the struct")
