#include "shm/record.h"

#include <algorithm>
#include <cstring>

namespace banyan::shm {
namespace {

constexpr std::size_t kFieldsMax = 4096;          // more than a header can hold the names of
constexpr std::size_t kRecordBytesMax = 1 << 24;  // far above any row that is worth sharing; keeps sums small

void add_field(std::string& text, std::string_view name, char code, std::size_t bytes, std::size_t count) {
  if (text.size() > 1) text += ", ";
  const bool ordered = (code == 'i' || code == 'u' || code == 'f') && bytes > 1;
  const char order = !ordered ? '|' : std::endian::native == std::endian::little ? '<' : '>';
  text += "('";
  text += name;
  text += "', '";
  text += order;
  text += code;
  text += std::to_string(bytes) + "'";
  if (count > 0) text += ", (" + std::to_string(count) + ",)";
  text += ")";
}

Error bad(const std::string& why) {
  return {ErrorKind::kBadToken, "a record's descriptor that " + why};
}

// Reads one descriptor from left to right.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}
  bool done() const { return rest_.empty(); }
  bool take(std::string_view word) {
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  char letter() {
    if (rest_.empty()) return '\0';
    const char found = rest_[0];
    rest_.remove_prefix(1);
    return found;
  }
  std::string_view identifier() {
    const auto is_part = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    };
    std::size_t length = 0;
    while (length < rest_.size() && is_part(rest_[length])) ++length;
    const std::string_view found = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return found;
  }
  std::size_t number() {  // 0 for none, or one that is too large
    std::size_t value = 0, length = 0;
    while (length < rest_.size() && rest_[length] >= '0' && rest_[length] <= '9') {
      value = value * 10 + std::size_t(rest_[length++] - '0');
      if (value > kRecordBytesMax) return 0;
    }
    if (length > 0 && rest_[0] == '0') return 0;
    rest_.remove_prefix(length);
    return value;
  }

 private:
  std::string_view rest_;
};

bool is_width(char code, std::size_t bytes) {
  switch (code) {
    case 'i':
    case 'u':
      return bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
    case 'f':
      return bytes == 4 || bytes == 8 || bytes == 12 || bytes == 16;
    case 'b':
      return bytes == 1;
    default:
      return (code == 'S' || code == 'V') && bytes > 0;
  }
}

const Field* find(std::span<const Field> fields, std::string_view name) {
  for (const Field& field : fields)
    if (field.name == name) return &field;
  return nullptr;
}

void name_one(std::string& names, std::string_view name) {
  names += names.empty() ? "" : ", ";
  names += name;
}

}  // namespace

std::string descriptor_text(std::span<const Field> fields, std::size_t bytes) {
  std::string text = "[";
  std::size_t end = 0;
  const auto pad_to = [&](std::size_t offset) {
    if (offset > end) add_field(text, "", 'V', offset - end, 0);
  };
  for (const Field& field : fields) {
    pad_to(field.offset);
    add_field(text, field.name, field.code, field.bytes, field.count);
    end = field.offset + field.size();
  }
  pad_to(bytes);
  return text + "]";
}

Result<std::size_t> descriptor_bytes(std::string_view text) {
  Scanner in(text);
  if (!in.take("[")) return bad("does not begin with a bracket");
  std::size_t total = 0;
  for (std::size_t fields = 0; !in.take("]"); ++fields) {
    if (fields == kFieldsMax) return bad("has too many fields");
    if (fields > 0 && !in.take(", ")) return bad("has no comma between fields");
    if (!in.take("('")) return bad("has something else than fields");
    const std::string_view name = in.identifier();
    if (!in.take("', '")) return bad("has a field with a strange name");
    const char order = in.letter();
    const char code = in.letter();
    const std::size_t bytes = in.number();
    if ((order != '<' && order != '>' && order != '|') || !is_width(code, bytes) ||
        name.empty() != (code == 'V'))
      return bad("has a field of an unknown type");
    std::size_t count = 1;
    if (in.take("', (")) {
      count = in.number();
      if (count == 0 || !in.take(",))")) return bad("has an array of an unknown size");
    } else if (!in.take("')")) {
      return bad("has a field that does not end");
    }
    if (bytes * std::uint64_t(count) > kRecordBytesMax - total) return bad("is too large");
    total += bytes * count;
  }
  if (!in.done() || total == 0) return bad("has no fields, or something behind them");
  return total;
}

Result<FieldPlan> FieldPlan::make(std::span<const Field> from, std::span<const Field> to, FieldMap map) {
  std::vector<std::pair<std::string_view, std::string_view>> pairs(map.begin(), map.end());
  if (map.empty())
    for (const Field& field : to) pairs.emplace_back(field.name, field.name);

  FieldPlan plan;
  std::string missing, unknown, differing;
  for (const auto& [source, target] : pairs) {
    const Field* given = find(from, source);
    const Field* wanted = find(to, target);
    if (given == nullptr) name_one(missing, source);
    if (wanted == nullptr) name_one(unknown, target);
    if (given == nullptr || wanted == nullptr) continue;
    if (given->code != wanted->code || given->bytes != wanted->bytes || given->count != wanted->count)
      name_one(differing, target);
    else
      plan.pieces_.push_back({given->offset, wanted->offset, given->size()});
  }
  if (!missing.empty()) return Error{ErrorKind::kFields, "fields that are missing: " + missing};
  if (!unknown.empty()) return Error{ErrorKind::kFields, "fields that are unknown: " + unknown};
  if (!differing.empty()) return Error{ErrorKind::kFields, "fields of another type: " + differing};
  return plan;
}

void FieldPlan::apply(const std::byte* from, std::byte* to) const {
  for (const Piece& piece : pieces_) std::memcpy(to + piece.to, from + piece.from, piece.bytes);
}

}  // namespace banyan::shm
