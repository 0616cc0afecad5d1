#include "cli/draw.h"

#include <algorithm>
#include <map>

#include "cli/printable.h"
#include "core/text.h"

namespace banyan::cli {
namespace {

struct Row {
  std::string branch;  // the lines that lead here
  std::vector<std::string> cells;
};

// What is seen of UTF-8 text, roughly: our own branches are one column a character.
std::size_t width(std::string_view text) {
  return std::size_t(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

// "0.21 ms"
std::string milliseconds(Nanos time) {
  const Nanos hundredths = (time + 5 * kMicrosecond) / (10 * kMicrosecond);
  const Nanos rest = hundredths % 100;
  return cat(hundredths / 100, rest < 10 ? ".0" : ".", rest, " ms");
}

std::vector<std::string> cells_of(const ContextFacts& facts) {
  return {cat("id ", facts.context),
          printable(facts.method),
          printable(facts.architecture),
          cat("pid ", facts.pid),
          facts.round_trip ? milliseconds(*facts.round_trip) : "",
          cat(facts.resident_kib, " KiB")};
}

}  // namespace

std::string draw_tree(const std::vector<ContextFacts>& contexts) {
  std::map<ContextId, std::vector<const ContextFacts*>> children;
  std::vector<Row> rows;
  struct Step {
    const ContextFacts* facts;
    std::string lead;  // for what lies beneath
    std::string branch;
  };
  std::vector<Step> stack;
  for (const ContextFacts& facts : contexts) {
    if (!facts.parent) {
      stack.push_back({&facts, "", ""});
    } else if (*facts.parent != facts.context) {
      children[*facts.parent].push_back(&facts);
    }
  }
  while (!stack.empty()) {
    const Step step = stack.back();
    stack.pop_back();
    rows.push_back({step.branch + printable(step.facts->name), cells_of(*step.facts)});
    // Each is taken once, so that contexts that name each other as parents make no endless drawing.
    const std::vector<const ContextFacts*> beneath = std::exchange(children[step.facts->context], {});
    for (auto it = beneath.rbegin(); it != beneath.rend(); ++it) {
      const bool last = it == beneath.rbegin();
      stack.push_back({*it, step.lead + (last ? "   " : "│  "), step.lead + (last ? "└─ " : "├─ ")});
    }
  }

  std::vector<std::size_t> widths(1, 0);
  for (const Row& row : rows) {
    widths[0] = std::max(widths[0], width(row.branch));
    widths.resize(std::max(widths.size(), row.cells.size() + 1));
    for (std::size_t i = 0; i < row.cells.size(); ++i)
      widths[i + 1] = std::max(widths[i + 1], width(row.cells[i]));
  }
  std::string out;
  for (const Row& row : rows) {
    std::string line = row.branch;
    std::size_t missing = widths[0] - width(row.branch);
    for (std::size_t i = 0; i < row.cells.size(); ++i) {
      line += std::string(missing + 2, ' ') + row.cells[i];
      missing = widths[i + 1] - width(row.cells[i]);
    }
    out += line + '\n';
  }
  return out;
}

}  // namespace banyan::cli
