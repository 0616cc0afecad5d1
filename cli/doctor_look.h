// cli/doctor_look.h -- what was seen over there: by stage 0, and by a command in the context.
//
// Pure: both are texts from elsewhere, and are taken apart here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace banyan::cli {

// What a command in the context saw there.
struct Look {
  struct Directory {
    std::string state, path;  // ok, noexec, unwritable, missing
  };
  std::vector<Directory> directories;  // in stage 0's order
  std::string dd;                      // fullblock, bytewise, none; empty: not told
  std::string program;                 // what the agent was executed from
  bool file_is_left = false;           // stage 0's
};

// The line for /bin/sh that looks. Its arguments: stage 0's file or nothing, and 16 random digits.
extern const std::string_view kLookLine;
Look parse_look(std::string_view output);

// Stage 0's report (docs/how_it_works.md), taken apart.
struct Stage0Report {
  std::string machine, receiver, file;  // file: empty when there is none
  std::vector<std::string> missing, tried;
};
Stage0Report parse_stage0_report(std::string_view report);

}  // namespace banyan::cli
