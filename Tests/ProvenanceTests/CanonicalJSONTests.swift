import Provenance
import Testing

/// RFC 8785, with its own vectors.
@Suite("Canonical JSON")
struct CanonicalJSONTests {
    /// RFC 8785, appendix B.
    static let numbers: [(bits: UInt64, text: String)] = [
        (0x0000_0000_0000_0000, "0"), (0x8000_0000_0000_0000, "0"), (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"), (0x7FEF_FFFF_FFFF_FFFF, "1.7976931348623157e+308"),
        (0xFFEF_FFFF_FFFF_FFFF, "-1.7976931348623157e+308"), (0x4340_0000_0000_0000, "9007199254740992"),
        (0xC340_0000_0000_0000, "-9007199254740992"), (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44B5_2D02_C7E1_4AF5, "9.999999999999997e+22"), (0x44B5_2D02_C7E1_4AF6, "1e+23"),
        (0x44B5_2D02_C7E1_4AF7, "1.0000000000000001e+23"), (0x444B_1AE4_D6E2_EF4E, "999999999999999700000"),
        (0x444B_1AE4_D6E2_EF4F, "999999999999999900000"), (0x444B_1AE4_D6E2_EF50, "1e+21"),
        (0x3EB0_C6F7_A0B5_ED8C, "9.999999999999997e-7"), (0x3EB0_C6F7_A0B5_ED8D, "0.000001"),
        (0x41B3_DE43_5555_5553, "333333333.3333332"), (0x41B3_DE43_5555_5554, "333333333.33333325"),
        (0x41B3_DE43_5555_5555, "333333333.3333333"), (0x41B3_DE43_5555_5556, "333333333.3333334"),
        (0x41B3_DE43_5555_5557, "333333333.33333343"), (0xBECB_F647_612F_3696, "-0.0000033333333333333333"),
        (0x4314_3FF3_C1CB_0959, "1424953923781206.2"),
    ]

    @Test("doubles are written as in the table of RFC 8785", arguments: numbers)
    func writesTheNumberTable(_ row: (bits: UInt64, text: String)) {
        #expect(CanonicalNumber.text(Double(bitPattern: row.bits)) == row.text)
    }

    @Test("the example of section 3.2.2 comes out as the RFC has it")
    func writesTheExample() throws {
        let text = """
            {
              "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
              "string": "\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\"\\/",
              "literals": [null, true, false]
            }
            """
        let expected =
            #"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"#
            + #""string":"€$\u000f\nA'B\"\\\\\"/"}"#
        #expect(JSONWriter.canonical.text(try JSONParser.parse(text)) == expected)
    }

    @Test("members are sorted by UTF-16 code units, as in section 3.2.3")
    func sortsByCodeUnits() throws {
        let names = ["\u{20AC}", "\r", "\u{FB33}", "1", "\u{1F600}", "\u{80}", "\u{F6}"]
        let object = JSONObject(names.map { .init($0, .null) })
        let sorted = try JSONParser.parse(JSONWriter.canonical.bytes(.object(object))).object?.members.map(\.name)
        let expected = ["\r", "1", "\u{80}", "\u{F6}", "\u{20AC}", "\u{1F600}", "\u{FB33}"]
        #expect(sorted?.map { Array($0.utf8) } == expected.map { Array($0.utf8) })
    }

    @Test("integers keep all their digits, so that large seeds stay apart")
    func keepsIntegers() {
        #expect(CanonicalNumber.text("18446744073709551615") == "18446744073709551615")
        #expect(CanonicalNumber.text("9007199254740993") == "9007199254740993")
        #expect(CanonicalNumber.text("-0") == "0")
        #expect(CanonicalNumber.text("1.0") == "1")
        #expect(CanonicalNumber.text("1E2") == "100")
        #expect(CanonicalNumber.text("-0.0") == "0")
    }

    @Test("what is canonical stays as it is")
    func isIdempotent() throws {
        let text = #"{"z":[1.50,1e3,{"b":null,"a":"é"}],"A":-0.0}"#
        let once = JSONWriter.canonical.bytes(try JSONParser.parse(text))
        #expect(JSONWriter.canonical.bytes(try JSONParser.parse(once)) == once)
    }
}
