//! AWS's own library signs with placeholders, and the server, which reckons with the same library, finds the
//! operator's signature.

use super::keyed::{Keyed, curl, refused};
use super::support::{Daemon, World};

#[test]
fn requests_of_botocore_are_signed_anew() {
    let world = World::new();
    let keyed = Keyed::start(&world);
    let daemon = Daemon::start(&world, &keyed.setup());
    let session = daemon.ssh().seconds(60).run(keyed.secure.client("aws"));
    assert_eq!(session.out(), "done\n", "{session}");
    let arrived = keyed.arrived();
    assert_eq!(arrived.len(), 5, "{arrived:#?}");
    for (request, region) in arrived.iter().zip([
        "eu-west-1/s3",
        "eu-west-1/s3",
        "us-east-2/s3",
        "eu-west-1/s3",
        "eu-west-1/dynamodb",
    ]) {
        assert_eq!(request["wrong"], "", "{request:#}");
        let headers = &request["headers"];
        let authorization = headers["authorization"].as_str().unwrap();
        assert!(
            authorization.contains("Credential=AKIDREALKEY/"),
            "{request:#}"
        );
        assert!(authorization.contains(region), "{request:#}");
        assert_eq!(headers["x-amz-security-token"], "session+token/of==ours");
        assert!(!request.to_string().contains("sandgate:"), "{request:#}");
    }
    assert_eq!(
        arrived[3]["headers"]["x-amz-content-sha256"],
        "UNSIGNED-PAYLOAD"
    );
}

#[test]
fn a_request_that_cannot_be_signed_is_not_sent() {
    let world = World::new();
    let keyed = Keyed::start(&world);
    let daemon = Daemon::start(&world, &keyed.setup());
    // No region is named: the client has not signed.
    let line = curl("https://secure.example:8443/aws/bucket/k");
    refused(&daemon.ssh().run(line), 500, "credential_unavailable");
    let chunks = "-H 'x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD'";
    let line = curl(&format!(
        "{chunks} --data-binary x https://secure.example:8443/aws/whole/bucket/k"
    ));
    refused(&daemon.ssh().run(line), 500, "credential_unavailable");
    std::fs::remove_file(keyed.secret("AWS_SECRET_ACCESS_KEY")).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    let line = curl("https://secure.example:8443/aws/whole/bucket/k");
    refused(&daemon.ssh().run(line), 500, "credential_unavailable");
    assert!(keyed.arrived().is_empty());
}
