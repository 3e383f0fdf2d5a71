// Measurements as a table for people and as JSON for programs.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "bench/cells.hh"

namespace pleach::bench {

void print_header(std::FILE* out);
void print_row(std::FILE* out, const measurement& m);

/// RETURNS: false if `path` could not be written.
bool write_json(const std::string& path, const settings& s, const std::vector<measurement>& all);

}  // namespace pleach::bench
