// .smtx patterns: sound files in every spelling, and broken ones with their one message.
#include "data/smtx.h"

#include "tests/data/fixtures.h"

namespace lacuna::test {
namespace {

class Smtx : public ::testing::Test {
 protected:
  TopologyPtr read(const std::string& text) {
    write_file(dir_ / "m.smtx", text);
    return read_smtx(dir_ / "m.smtx");
  }
  void refuses(const std::string& text, std::vector<std::string> words) {
    write_file(dir_ / "broken.smtx", text);
    const std::string message = message_of<DataError>([&] { read_smtx(dir_ / "broken.smtx"); });
    words.push_back("[smtx]");
    for (const std::string& word : words)
      EXPECT_NE(message.find(word), std::string::npos) << "'" << word << "' is not in: " << message;
  }
  TempDir dir_;
};

const std::vector<std::int32_t> kOffsets{0, 2, 2, 5}, kColumns{1, 3, 0, 2, 3};

void expect_the_example(const TopologyPtr& t) {
  EXPECT_EQ(t->rows(), 3);
  EXPECT_EQ(t->cols(), 4);
  EXPECT_EQ(t->row_offsets().to_vector<std::int32_t>(), kOffsets);
  EXPECT_EQ(t->col_indices().to_vector<std::int32_t>(), kColumns);
}

TEST_F(Smtx, ReadsTheCollectionsSpelling) { expect_the_example(read("3, 4, 5\n0 2 2 5 \n1 3 0 2 3 \n")); }
TEST_F(Smtx, ReadsOtherSpellings) {
  expect_the_example(read("3 4 5\n0 2 2 5\n1 3 0 2 3"));
  expect_the_example(read("3,4,5\r\n0, 2, 2, 5\r\n1,3,0,2,3\r\n\r\n"));
  expect_the_example(read("  3,\t4 ,5\n0 2 2 5\n1 3 0 2 3\n\n"));
}
TEST_F(Smtx, ReadsEmptyMatrices) {
  EXPECT_EQ(read("3, 4, 0\n0 0 0 0\n\n")->nnz(), 0);
  EXPECT_EQ(read("3, 4, 0\n0 0 0 0")->rows(), 3);
  EXPECT_EQ(read("0, 4, 0\n0\n\n")->cols(), 4);
}
TEST_F(Smtx, ReadsTheHeaderAlone) {
  write_file(dir_ / "h.smtx", std::string("3, 4, 5\nnot numbers, but long enough"));
  const SmtxHeader h = read_smtx_header(dir_ / "h.smtx");
  EXPECT_EQ(h.rows, 3);
  EXPECT_EQ(h.cols, 4);
  EXPECT_EQ(h.nnz, 5);
}

TEST_F(Smtx, RefusesMissingFilesAndFolders) {
  EXPECT_NE(message_of<DataError>([&] { read_smtx(dir_ / "absent.smtx"); }).find("absent.smtx"), std::string::npos);
  EXPECT_NE(message_of<DataError>([&] { read_smtx(dir_.path()); }).find("regular file"), std::string::npos);
}
TEST_F(Smtx, RefusesAnEmptyFile) { refuses("", {"broken.smtx:1:", "the number of rows must follow"}); }
TEST_F(Smtx, RefusesAShortHeader) { refuses("3, 4\n0 2 2 5\n1 3 0 2 3\n", {":1:", "the number of nonzeros"}); }
TEST_F(Smtx, RefusesALongHeader) { refuses("3, 4, 5, 6\n0 2 2 5\n1 3 0 2 3\n", {":1:", "the line must end"}); }
TEST_F(Smtx, RefusesWords) { refuses("three, 4, 5\n0 2 2 5\n1 3 0 2 3\n", {":1:", "'t'", "decimal digits"}); }
TEST_F(Smtx, RefusesFractions) { refuses("3, 4, 5\n0 2 2.5 5\n1 3 0 2 3\n", {":2:", "'.' after 2"}); }
TEST_F(Smtx, RefusesTwoCommas) { refuses("3,, 4, 5\n0 2 2 5\n1 3 0 2 3\n", {":1:", "','"}); }
TEST_F(Smtx, RefusesALeadingComma) { refuses("3, 4, 5\n,0 2 2 5\n1 3 0 2 3\n", {":2:", "','"}); }
TEST_F(Smtx, RefusesNegativeCounts) { refuses("-3, 4, 5\n0 2 2 5\n1 3 0 2 3\n", {":1:", "-3 rows"}); }
TEST_F(Smtx, RefusesCountsPast64Bits) { refuses("99999999999999999999, 4, 5\n0\n1\n", {":1:", "64 bits"}); }
TEST_F(Smtx, RefusesCountsPast31Bits) { refuses("3, 4294967296, 5\n0 2 2 5\n1 3 0 2 3\n", {":1:", "2147483647"}); }
TEST_F(Smtx, RefusesCountsTheFileCannotHold) {
  refuses("3, 2000000000, 2000000000\n0 2 2 5\n1 3 0 2 3\n", {":1:", "cannot hold"});
  refuses("2000000000, 3, 5\n0 2 2 5\n1 3 0 2 3\n", {":1:", "cannot hold"});
}
TEST_F(Smtx, RefusesMoreNonzerosThanPlaces) { refuses("1, 2, 3\n0 3\n0 1 2\n", {":1:", "room for 2"}); }
TEST_F(Smtx, RefusesTooFewOffsets) { refuses("3, 4, 5\n0 2 5\n1 3 0 2 3\n", {":2:", "the line ends", "row offset"}); }
TEST_F(Smtx, RefusesTooManyOffsets) { refuses("3, 4, 5\n0 2 2 5 5\n1 3 0 2 3\n", {":2:", "the line must end"}); }
TEST_F(Smtx, RefusesAFirstOffsetThatIsNotZero) { refuses("3, 4, 5\n1 2 2 5\n1 3 0 2 3\n", {":2:", "is 1; must be 0"}); }
TEST_F(Smtx, RefusesFallingOffsets) {
  refuses("3, 4, 5\n0 2 1 5\n1 3 0 2 3\n", {":2:", "1 of row 2 after 2", "never fall"});
}
TEST_F(Smtx, RefusesOffsetsPastTheEnd) { refuses("3, 4, 5\n0 2 2 6\n1 3 0 2 3\n", {":2:", "at most 5"}); }
TEST_F(Smtx, RefusesALastOffsetThatIsNotNnz) { refuses("3, 4, 5\n0 2 2 4\n1 3 0 2 3\n", {":2:", "is 4; must be 5"}); }
TEST_F(Smtx, RefusesRowsLongerThanTheMatrix) {
  refuses("3, 2, 5\n0 0 3 5\n0 1 1 0 1\n", {":2:", "row 1 holds 3", "at most 2"});
}
TEST_F(Smtx, RefusesMissingColumns) {
  refuses("3, 4, 5\n0 2 2 5\n1 3 0 2\n", {":3:", "the line ends", "column index"});
  refuses("3, 4, 5\n0 2 2 5       ", {":3:", "the line ends"});
}
TEST_F(Smtx, RefusesColumnsOutside) {
  refuses("3, 4, 5\n0 2 2 5\n1 4 0 2 3\n", {":3:", "column 4 in row 0", "0 to 3"});
  refuses("3, 4, 5\n0 2 2 5\n-1 3 0 2 3\n", {":3:", "column -1"});
}
TEST_F(Smtx, RefusesColumnsThatDoNotAscend) {
  refuses("3, 4, 5\n0 2 2 5\n3 1 0 2 3\n", {":3:", "column 1 after 3 in row 0"});
  refuses("3, 4, 5\n0 2 2 5\n1 3 0 2 2\n", {":3:", "column 2 after 2 in row 2"});
}
TEST_F(Smtx, RefusesWhatFollows) {
  refuses("3, 4, 5\n0 2 2 5\n1 3 0 2 3 0\n", {":3:", "the line must end"});
  refuses("3, 4, 5\n0 2 2 5\n1 3 0 2 3\n0.5 0.5\n", {":4:", "the file must end"});
}
TEST_F(Smtx, RefusesBytesThatAreNoText) {
  refuses(std::string("3, 4, 5\n0 2 2 5\n1 3 \0 2 3\n", 26), {":3:", "\\x00"});
}

}  // namespace
}  // namespace lacuna::test
