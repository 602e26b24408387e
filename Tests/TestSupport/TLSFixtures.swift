import Foundation

/// Certificates and keys for tests of TLS, valid from 2020 to 2120 where the name does not say otherwise. They keep nothing
/// safe.
package enum TLSFixtures {
    /// A directory for `tls_dir`, with the files of both ends.
    ///
    /// - Parameter changes: files with another content, or none.
    @discardableResult package static func directory(
        _ scratch: ScratchDirectory, _ name: String = "tls", _ changes: [String: String?] = [:]
    ) throws -> String {
        let path = scratch.path(name)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        var files: [String: String?] = [
            "ca-cert.pem": authority, "server-cert.pem": server, "server-key.pem": key, "client-cert.pem": client,
            "client-key.pem": key,
        ]
        files.merge(changes) { $1 }
        for (file, text) in files { if let text { try scratch.write("\(name)/\(file)", text) } }
        return path
    }

    /// Vouches for those below whose names do not begin with `other`.
    package static let authority = """
        -----BEGIN CERTIFICATE-----
        MIIBazCCARCgAwIBAgICEAAwCgYIKoZIzj0EAwIwGzEZMBcGA1UEAwwQU3dpZnRs
        ZXQgdGVzdCBDQTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowGzEZ
        MBcGA1UEAwwQU3dpZnRsZXQgdGVzdCBDQTBZMBMGByqGSM49AgEGCCqGSM49AwEH
        A0IABNJG2pDlvVqVihjGfC7v/LxHJr8bv4Dxl/3S9v2mCONvnBEjr+Neg3xBI9Rh
        yU59vzlgnFqXnHj7vZzcIwyUeFmjQjBAMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0P
        AQH/BAQDAgEGMB0GA1UdDgQWBBSpIBw8Ic4MXQnrp35bcQMkwU/adzAKBggqhkjO
        PQQDAgNJADBGAiEArrVXBwENeY+wu4v/vLlj4yqTxWBadeBwFCz2Tehq6ZsCIQDj
        vNnNoSK6oTAQUsuafWh8nnzTgxOmj7qQynlEgCkGwQ==
        -----END CERTIFICATE-----

        """

    /// For localhost, 127.0.0.1 and ::1.
    package static let server = """
        -----BEGIN CERTIFICATE-----
        MIIBxDCCAWmgAwIBAgICEAIwCgYIKoZIzj0EAwIwGzEZMBcGA1UEAwwQU3dpZnRs
        ZXQgdGVzdCBDQTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowETEP
        MA0GA1UEAwwGc2VydmVyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAElX+ZQWJV
        DoyOAKvLuAzRTB24OlEcDm1KoEAgT4fY3+2rUQx8B4RVXxSqMP3nGenF1YxnLnfA
        eIUXbOMyDoG3F6OBpDCBoTAMBgNVHRMBAf8EAjAAMA4GA1UdDwEB/wQEAwIHgDAT
        BgNVHSUEDDAKBggrBgEFBQcDATAsBgNVHREEJTAjgglsb2NhbGhvc3SHBH8AAAGH
        EAAAAAAAAAAAAAAAAAAAAAEwHQYDVR0OBBYEFMMiOJ5iSAx1nETojFZxbssOc4Z7
        MB8GA1UdIwQYMBaAFKkgHDwhzgxdCeunfltxAyTBT9p3MAoGCCqGSM49BAMCA0kA
        MEYCIQC2JyTkE9UAs6rmogjWZgnS/EJ/Dd0BbEPGTTTct6Jl1gIhAKRQFn5PRi51
        gXAJ4dn88zTJAVKegLg2U4vjyVFXEyRv
        -----END CERTIFICATE-----

        """

    /// A source's.
    package static let client = """
        -----BEGIN CERTIFICATE-----
        MIIBqjCCAVGgAwIBAgICEAMwCgYIKoZIzj0EAwIwGzEZMBcGA1UEAwwQU3dpZnRs
        ZXQgdGVzdCBDQTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowETEP
        MA0GA1UEAwwGY2xpZW50MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAElX+ZQWJV
        DoyOAKvLuAzRTB24OlEcDm1KoEAgT4fY3+2rUQx8B4RVXxSqMP3nGenF1YxnLnfA
        eIUXbOMyDoG3F6OBjDCBiTAMBgNVHRMBAf8EAjAAMA4GA1UdDwEB/wQEAwIHgDAT
        BgNVHSUEDDAKBggrBgEFBQcDAjAUBgNVHREEDTALgglsb2NhbGhvc3QwHQYDVR0O
        BBYEFMMiOJ5iSAx1nETojFZxbssOc4Z7MB8GA1UdIwQYMBaAFKkgHDwhzgxdCeun
        fltxAyTBT9p3MAoGCCqGSM49BAMCA0cAMEQCIDKQ4jdawE/TCSyZrKCUgDjZ88Xo
        KV48Ff2twat/0wJmAiAwv5MzJZsRzTyI5VDDGt5akZnA1Dchne2MiTmBdykfjA==
        -----END CERTIFICATE-----

        """

    /// The key of those that `authority` vouches for.
    package static let key = """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgMgjZU5Uuod76ZVk+
        Iie936MAOMLiW1eFntKtGQqFtv2hRANCAASVf5lBYlUOjI4Aq8u4DNFMHbg6URwO
        bUqgQCBPh9jf7atRDHwHhFVfFKow/ecZ6cXVjGcud8B4hRds4zIOgbcX
        -----END PRIVATE KEY-----

        """

    /// A destination's that ended in 2021.
    package static let expiredServer = """
        -----BEGIN CERTIFICATE-----
        MIIBtzCCAV2gAwIBAgICEAQwCgYIKoZIzj0EAwIwGzEZMBcGA1UEAwwQU3dpZnRs
        ZXQgdGVzdCBDQTAeFw0yMDAxMDEwMDAwMDBaFw0yMTAxMDEwMDAwMDBaMBkxFzAV
        BgNVBAMMDmV4cGlyZWQtc2VydmVyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
        lX+ZQWJVDoyOAKvLuAzRTB24OlEcDm1KoEAgT4fY3+2rUQx8B4RVXxSqMP3nGenF
        1YxnLnfAeIUXbOMyDoG3F6OBkjCBjzAMBgNVHRMBAf8EAjAAMA4GA1UdDwEB/wQE
        AwIHgDATBgNVHSUEDDAKBggrBgEFBQcDATAaBgNVHREEEzARgglsb2NhbGhvc3SH
        BH8AAAEwHQYDVR0OBBYEFMMiOJ5iSAx1nETojFZxbssOc4Z7MB8GA1UdIwQYMBaA
        FKkgHDwhzgxdCeunfltxAyTBT9p3MAoGCCqGSM49BAMCA0gAMEUCIBsQeEE2F6/W
        V+JA+25tqPvE4HV/LV9XFp34ShPZnp5gAiEAvNyvRi5xOnhUSoNJj8TshocxGJKc
        MZLyE4Slz6Mu8r4=
        -----END CERTIFICATE-----

        """

    /// A source's that ended in 2021.
    package static let expiredClient = """
        -----BEGIN CERTIFICATE-----
        MIIBmTCCAT+gAwIBAgICEAUwCgYIKoZIzj0EAwIwGzEZMBcGA1UEAwwQU3dpZnRs
        ZXQgdGVzdCBDQTAeFw0yMDAxMDEwMDAwMDBaFw0yMTAxMDEwMDAwMDBaMBkxFzAV
        BgNVBAMMDmV4cGlyZWQtY2xpZW50MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
        lX+ZQWJVDoyOAKvLuAzRTB24OlEcDm1KoEAgT4fY3+2rUQx8B4RVXxSqMP3nGenF
        1YxnLnfAeIUXbOMyDoG3F6N1MHMwDAYDVR0TAQH/BAIwADAOBgNVHQ8BAf8EBAMC
        B4AwEwYDVR0lBAwwCgYIKwYBBQUHAwIwHQYDVR0OBBYEFMMiOJ5iSAx1nETojFZx
        bssOc4Z7MB8GA1UdIwQYMBaAFKkgHDwhzgxdCeunfltxAyTBT9p3MAoGCCqGSM49
        BAMCA0gAMEUCIQCNvqpeUc3eLIorqt6Kh4G8uPWvZHbhXG/PBPmDRs/UjQIgSu9L
        ExKUjNNC/yA6xb6HRK+pJpN2dkEICwpluMFtIgY=
        -----END CERTIFICATE-----

        """

    /// For elsewhere.example and 192.0.2.1.
    package static let elsewhereServer = """
        -----BEGIN CERTIFICATE-----
        MIIBwzCCAWmgAwIBAgICEAYwCgYIKoZIzj0EAwIwGzEZMBcGA1UEAwwQU3dpZnRs
        ZXQgdGVzdCBDQTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowGzEZ
        MBcGA1UEAwwQZWxzZXdoZXJlLXNlcnZlcjBZMBMGByqGSM49AgEGCCqGSM49AwEH
        A0IABJV/mUFiVQ6MjgCry7gM0UwduDpRHA5tSqBAIE+H2N/tq1EMfAeEVV8UqjD9
        5xnpxdWMZy53wHiFF2zjMg6BtxejgZowgZcwDAYDVR0TAQH/BAIwADAOBgNVHQ8B
        Af8EBAMCB4AwEwYDVR0lBAwwCgYIKwYBBQUHAwEwIgYDVR0RBBswGYIRZWxzZXdo
        ZXJlLmV4YW1wbGWHBMAAAgEwHQYDVR0OBBYEFMMiOJ5iSAx1nETojFZxbssOc4Z7
        MB8GA1UdIwQYMBaAFKkgHDwhzgxdCeunfltxAyTBT9p3MAoGCCqGSM49BAMCA0gA
        MEUCIQDtCNBZBlw3MyDTXiMvUEpBx4CiS4WE9YNiMpwAgfmZKAIgKP3Ab2RJQpmz
        PKAT79RzngwxryOPH1zAr9YVn+PAATI=
        -----END CERTIFICATE-----

        """

    /// Vouches for `otherServer` and `otherClient`.
    package static let otherAuthority = """
        -----BEGIN CERTIFICATE-----
        MIIBaTCCAQ6gAwIBAgICEAEwCgYIKoZIzj0EAwIwGjEYMBYGA1UEAwwPQW5vdGhl
        ciB0ZXN0IENBMCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAaMRgw
        FgYDVQQDDA9Bbm90aGVyIHRlc3QgQ0EwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
        AAT0iJmFyh11UyXAqlxF/+SCZS/jZkV1I5FugGpBXjrRDhTMHWS3KZy5GN4Hrf2r
        BJp1elrrIfuwMSgm4tslZ5fGo0IwQDAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB
        /wQEAwIBBjAdBgNVHQ4EFgQUe3J3zuwweHslo8q84AqTO9lWOk8wCgYIKoZIzj0E
        AwIDSQAwRgIhAOS/m4QD0OpIM1RfhP58FaWJ9jSEP2/M+jUQaDKb1iW6AiEAjmDO
        ZJCsmsAePcwMz3XtPSzNHWbhhwUZBMVU+R2yOGw=
        -----END CERTIFICATE-----

        """

    /// For localhost and 127.0.0.1.
    package static let otherServer = """
        -----BEGIN CERTIFICATE-----
        MIIBtjCCAVygAwIBAgICEAcwCgYIKoZIzj0EAwIwGjEYMBYGA1UEAwwPQW5vdGhl
        ciB0ZXN0IENBMCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAXMRUw
        EwYDVQQDDAxvdGhlci1zZXJ2ZXIwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARm
        FD+wZxBip6rqTpZTJp0FfNa8QNPN7dGZ1rtCZwt+GGPl5YY1zUL8qly/pc0BNnH1
        4R0OO2MKRJ9ZwjR3Xhbjo4GSMIGPMAwGA1UdEwEB/wQCMAAwDgYDVR0PAQH/BAQD
        AgeAMBMGA1UdJQQMMAoGCCsGAQUFBwMBMBoGA1UdEQQTMBGCCWxvY2FsaG9zdIcE
        fwAAATAdBgNVHQ4EFgQUiPZHWVCnJZTvurC5CcgA4ICLh7QwHwYDVR0jBBgwFoAU
        e3J3zuwweHslo8q84AqTO9lWOk8wCgYIKoZIzj0EAwIDSAAwRQIhAIgDfblo5yWr
        JP9VaP/Kkvj0tYDPjijqGnZ6IAb2Z0J5AiBKAbQj9kSSFs3f0ctwUnygeO/6b78t
        fcD4xwBlN56ekw==
        -----END CERTIFICATE-----

        """

    /// A source's.
    package static let otherClient = """
        -----BEGIN CERTIFICATE-----
        MIIBmTCCAT6gAwIBAgICEAgwCgYIKoZIzj0EAwIwGjEYMBYGA1UEAwwPQW5vdGhl
        ciB0ZXN0IENBMCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAXMRUw
        EwYDVQQDDAxvdGhlci1jbGllbnQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARm
        FD+wZxBip6rqTpZTJp0FfNa8QNPN7dGZ1rtCZwt+GGPl5YY1zUL8qly/pc0BNnH1
        4R0OO2MKRJ9ZwjR3Xhbjo3UwczAMBgNVHRMBAf8EAjAAMA4GA1UdDwEB/wQEAwIH
        gDATBgNVHSUEDDAKBggrBgEFBQcDAjAdBgNVHQ4EFgQUiPZHWVCnJZTvurC5CcgA
        4ICLh7QwHwYDVR0jBBgwFoAUe3J3zuwweHslo8q84AqTO9lWOk8wCgYIKoZIzj0E
        AwIDSQAwRgIhALDW20Fv0ul7+Wfk2xMYmKo/lAAmx2pFYsC7Ul02p6oeAiEAtBwJ
        MoksmtuazIRij17sTPJnuEilCIeFBmLkX31oZMQ=
        -----END CERTIFICATE-----

        """

    /// The key of those two.
    package static let otherKey = """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgxCDkc2fgWEAEIiO8
        2sjOsEEii2SWqTxoRhHYyuzil4GhRANCAARmFD+wZxBip6rqTpZTJp0FfNa8QNPN
        7dGZ1rtCZwt+GGPl5YY1zUL8qly/pc0BNnH14R0OO2MKRJ9ZwjR3Xhbj
        -----END PRIVATE KEY-----

        """
}
