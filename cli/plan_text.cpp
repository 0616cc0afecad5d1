#include "cli/plan_text.h"

#include <algorithm>

#include "cli/printable.h"
#include "core/text.h"

namespace banyan::cli {
namespace {

constexpr std::size_t kValueWidthMax = 44;  // a longer one pushes its reason to the right

std::string label_of(const std::string& key) {
  std::string label = key == "backend" ? "back end" : key;
  std::ranges::replace(label, '_', ' ');
  return label;
}

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

struct Line {
  std::string label, value, because;
};

std::vector<Line> lines_of(const TargetPlan::Step& step) {
  std::vector<Line> lines;
  for (const PlanChoice& choice : step) {
    if (choice.key == "name") continue;  // stands above
    lines.push_back({label_of(choice.key), "none", printable(choice.because)});
    for (std::size_t i = 0; i < choice.values.size(); ++i) {
      if (i > 0) lines.push_back({});
      lines.back().value = printable(choice.values[i]);
      if (i < choice.remarks.size() && !choice.remarks[i].empty())
        lines.back().value += cat(" (", printable(choice.remarks[i]), ")");
    }
  }
  return lines;
}

// As it was written, by a person or in ProxyJump.
std::string name_of(const TargetPlan::Step& step) {
  auto it = std::ranges::find(step, "name", &PlanChoice::key);
  return it == step.end() || it->values.empty() ? "" : it->values[0];
}

}  // namespace

std::string plan_text(const TargetPlan& plan) {
  std::string text = printable(plan.target);
  if (plan.route.size() > 1) {
    std::string way;
    for (const TargetPlan::Step& step : plan.route)
      way += cat(way.empty() ? "" : " → ", printable(name_of(step)));
    text += cat("  by ", way);
  }
  text += '\n';
  for (std::size_t at = 0; at < plan.route.size(); ++at) {
    if (plan.route.size() > 1) text += cat("  step ", at + 1, ": ", printable(name_of(plan.route[at])), "\n");
    const std::vector<Line> lines = lines_of(plan.route[at]);
    std::size_t label = 0, value = 0;
    for (const Line& line : lines) {
      label = std::max(label, line.label.size());
      value = std::max(value, std::min(line.value.size(), kValueWidthMax));
    }
    for (const Line& line : lines) {
      std::string row =
          cat("  ", padded(line.label, label + 2), padded(line.value, value), "  ", line.because);
      row.erase(row.find_last_not_of(' ') + 1);
      text += row + '\n';
    }
  }
  return text;
}

}  // namespace banyan::cli
