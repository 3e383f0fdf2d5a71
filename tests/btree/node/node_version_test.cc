// Proves that the bytes of a leaf of each version are those of doc/format.md (golden images, byte
// by byte), that a leaf of the first version holds the same records after its conversion, and that
// a conversion never takes more room.
#include "tests/btree/node/chain.hh"

namespace pleach::btree::test {
namespace {

std::string hex(cbytes b) {
  static const char digits[] = "0123456789abcdef";
  std::string s;
  for (std::byte c : b) {
    s += digits[static_cast<u32>(c) >> 4];
    s += digits[static_cast<u32>(c) & 15];
  }
  return s;
}
std::string hex(const test_page& p, u32 from, u32 bytes) {
  return hex(cbytes(p.data).subspan(from, bytes));
}

/// The leaf of both golden images: three records behind the prefix "user/".
std::unique_ptr<test_page> golden(u16 format) {
  auto p = std::make_unique<test_page>(4096);
  format_node(p->writer(), p->ref.addr, 0x1122334455667788, 5, p->ref.gen, 0, as_bytes("user/"),
              as_bytes("user0"), true, as_bytes("user"), {}, format);
  const bool second = format == node_format_slotted_2;
  insert_at(p->writer(), 0, as_bytes("user/a"), 0, 0, as_bytes("one"));
  insert_at(p->writer(), 1, as_bytes("user/bc"), 0, VALUE_COMPRESSED, as_bytes("two"));
  if (second)
    insert_at(p->writer(), 2, as_bytes("user/d"), KEY_USER_FLAGS | KEY_CHECKSUM, VALUE_CHECKSUM,
              as_bytes("three"), as_bytes("\xf5KKKKVVVV"));
  else
    insert_at(p->writer(), 2, as_bytes("user/d"), 0, 0, as_bytes("three"));
  DOCTEST_REQUIRE(p->settle() == "");
  return p;
}

/// Everything that a leaf with three slots at 192 consists of.
std::string image(const test_page& p) {
  const node_header& h = p.view().node();
  return hex(p, 0, 8) + "|" + hex(p, 64, 32) + "|" + hex(p, h.slot_begin * 4u, 12) + "|" +
         hex(p, h.heap_begin, p.size() - h.heap_begin);
}

// A line a part.
// clang-format off
DOCTEST_TEST_CASE("golden image of a leaf of the first version") {
  DOCTEST_CHECK(image(*golden(node_format_slotted)) ==
                "504c636803000100|"  // magic, kind leaf, format 1
                // slot_begin 48, count 3, heap_begin; garbage, fences, prefix in the low fence
                "30000300d80f0000" "0000000005000500" "fb0f0000f60f0000" "04000000fb0f0000|"
                "ed0f612f" "e30f622f" "d80f642f|"
                "00000205" "2f64" "7468726565"  // flags, flags, lengths, "/d", "three"
                "00020303" "2f6263" "74776f"    // compressed, "/bc", "two"
                "00000203" "2f61" "6f6e65"      // "/a", "one"
                "7573657230" "757365722f");
}
DOCTEST_TEST_CASE("golden image of a leaf of the second version") {
  DOCTEST_CHECK(image(*golden(node_format_slotted_2)) ==
                "504c636803000300|"  // format 3
                "30000300d20f0000" "0000000005000500" "fb0f0000f60f0000" "04000000fb0f0000|"
                "ee0f612f" "e50f622f" "d20f642f|"
                // Value flag CHECKSUM, key flags USER_FLAGS and CHECKSUM; 2, 14; "/d", "three", the
                // user's flags, both checksums.
                "86020e" "2f64" "7468726565" "f5" "4b4b4b4b" "56565656"
                "200303" "2f6263" "74776f"
                "000203" "2f61" "6f6e65"
                "7573657230" "757365722f");
}
// clang-format on

DOCTEST_TEST_CASE("a conversion keeps the records and takes no room") {
  auto p = golden(node_format_slotted);
  auto q = golden(node_format_slotted);
  const u32 before = p->view().used_bytes();
  std::vector<std::byte> scratch(p->size());
  compact(p->writer(), scratch, nullptr, convert::YES);
  DOCTEST_CHECK(p->settle() == "");
  DOCTEST_CHECK(p->view().header().format == node_format_slotted_2);
  DOCTEST_CHECK(p->view().used_bytes() == before - 3);
  DOCTEST_CHECK(text(p->view().high_fence()) == "user0");
  for (u32 i = 0; i < 3; ++i) {
    const record a = p->view().at(i), b = q->view().at(i);
    DOCTEST_CHECK(full_key(p->view(), i) == full_key(q->view(), i));
    DOCTEST_CHECK(text(a.value) == text(b.value));
    DOCTEST_CHECK(a.value_flags == b.value_flags);
    DOCTEST_CHECK(a.attached.empty());
  }
  // A second one changes nothing.
  compact(p->writer(), scratch, nullptr, convert::YES);
  DOCTEST_CHECK(p->settle() == "");
  DOCTEST_CHECK(p->marked == 0);
}

DOCTEST_TEST_CASE("leaves that lose their last record keep their version, or are converted") {
  auto p = golden(node_format_slotted);
  make_empty_leaf(p->writer());
  DOCTEST_CHECK(p->settle() == "");
  DOCTEST_CHECK(p->view().header().format == node_format_slotted);
  make_empty_leaf(p->writer(), convert::YES);
  DOCTEST_CHECK(p->settle() == "");
  DOCTEST_CHECK(p->view().header().format == node_format_slotted_2);
  make_empty_leaf(p->writer());
  DOCTEST_CHECK(p->settle() == "");
  DOCTEST_CHECK(p->view().header().format == node_format_slotted_2);
}

}  // namespace
}  // namespace pleach::btree::test
