import ClusterHarness
import Testing

@testable import fault_campaign

@Suite struct CatalogueTests {
    @Test func everyFaultHasANameOfItsOwn() {
        let names = Catalogue.all.map(\.name)
        #expect(Set(names).count == names.count)
        #expect(names.allSatisfy { name in name.allSatisfy { $0.isLetter || $0.isNumber || $0 == "-" || $0 == "." } })
    }

    @Test func everyGroupIsThereAndTheShortListIsShort() {
        #expect(Set(Catalogue.all.map(\.group)) == Set(Fault.Group.allCases))
        #expect((6...14).contains(Catalogue.short.count))
        #expect(Catalogue.all.count > 90)
    }

    @Test func onlyTheResidualRisksPromiseNothing() {
        for fault in Catalogue.all {
            #expect((fault.promise == .nothing) == (fault.group == .residual), "\(fault.name)")
        }
    }

    @Test func namesAreFoundAloneAndByTheirBeginning() throws {
        #expect(try Catalogue.named(["switchover"]).map(\.name) == ["switchover"])
        #expect(try Catalogue.named(["stop-agent-*"]).count >= Catalogue.lengths.count)
        #expect(throws: SystemFailure.self) { try Catalogue.named(["no-such-fault"]) }
    }
}
