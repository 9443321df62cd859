import Runtime
import TestSupport
import Testing

@Suite("Paths")
struct PathTests {
    private let scratch = Scratch()

    private func link(_ name: String, to target: String) {
        let result = Program.run(["ln", "-sfn", target, scratch.path(name)])
        #expect(result.status == 0, "\(result.errors)")
    }

    private func links(_ name: String) -> [String] {
        let root = Paths.resolved(scratch.path(".")) ?? ""
        return Paths.links(on: root + "/" + name).map { String($0.dropFirst(root.count + 1)) }
    }

    @Test("every link on the way is found, in the targets of links too")
    func findsLinks() {
        scratch.write("volume/..one/model_manifest.json", "{}")
        link("volume/..data", to: "..one")
        link("volume/model_manifest.json", to: "..data/model_manifest.json")
        link("current", to: "volume/../volume")
        #expect(links("volume/..one/model_manifest.json") == [])
        #expect(links("volume/model_manifest.json") == ["volume/model_manifest.json", "volume/..data"])
        #expect(
            links("current/./model_manifest.json") == ["current", "volume/model_manifest.json", "volume/..data"])
        link("absolute", to: scratch.path("volume"))
        #expect(links("absolute/..data").suffix(2) == ["absolute", "volume/..data"])
    }

    @Test("links that lead nowhere are found, and circles end")
    func survivesCircles() {
        link("gone", to: "nowhere")
        #expect(links("gone") == ["gone"])
        link("one", to: "two")
        link("two", to: "one")
        let found = links("one/x")
        #expect(found.count == 40 && Set(found) == ["one", "two"])
    }
}
